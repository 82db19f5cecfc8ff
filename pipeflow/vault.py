"""Secrets: derives webhook credentials, encrypts tokens, signs sessions. May import errors and settings.

Everything comes from the keys in `PIPEFLOW_SECRET_KEY`. The first key makes what is new; all of them are accepted, so
that a key can be replaced without losing a delivery or a session: write the new one in front, remove the old one later.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeflow.errors import ConfigError

if TYPE_CHECKING:
    from pipeflow.settings import Settings

SHORTEST_KEY = 32
_USER = "pipeflow"


class Vault:
    """Holds the keys, newest first. Its repr shows none of them.

    Raises ConfigError where there is no key or one is shorter than 32 characters.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        cleaned = [key.strip() for key in keys if key.strip()]
        if not cleaned:
            raise ConfigError(f"no secret key: set PIPEFLOW_SECRET_KEY to {SHORTEST_KEY} or more random characters")
        for number, key in enumerate(cleaned, start=1):
            if len(key) < SHORTEST_KEY:
                which = f"key {number} of {len(cleaned)} in " if len(cleaned) > 1 else ""
                raise ConfigError(
                    f"{which}PIPEFLOW_SECRET_KEY is {len(key)} characters long; {SHORTEST_KEY} are the least. "
                    "`python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes one"
                )
        self._keys = tuple(key.encode() for key in cleaned)
        self._locks: Any = None

    def __repr__(self) -> str:
        return f"<Vault of {len(self._keys)} keys>"

    def webhook_credentials(self, company: int) -> tuple[str, str]:
        """Give the Basic user and password that new webhooks of this company get."""
        return _USER, _password(self._keys[0], company)

    def accepts(self, company: int, user: str, password: str) -> bool:
        """Say whether these are the company's webhook credentials, by any key; takes the same time either way."""
        given = f"{user}:{password}".encode("utf-8", "surrogatepass")
        fits = [hmac.compare_digest(given, f"{_USER}:{_password(key, company)}".encode()) for key in self._keys]
        return any(fits)

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt with the newest key (Fernet: AES-128-CBC and HMAC-SHA256)."""
        sealed: bytes = self._fernet().encrypt(plain)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        """Decrypt with whichever key fits; ConfigError where none does."""
        from cryptography.fernet import InvalidToken

        try:
            plain: bytes = self._fernet().decrypt(sealed)
        except InvalidToken:
            raise ConfigError(
                "stored credentials cannot be decrypted with any key in PIPEFLOW_SECRET_KEY: add the key they were "
                "encrypted with (comma-separated, after the new one), or connect the account again"
            ) from None
        return plain

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def rotated(self, sealed: bytes) -> bytes | None:
        """Encrypt anew with the newest key; None where it is so already. ConfigError where no key fits."""
        if Vault([self._keys[0].decode()])._opens(sealed):
            return None
        return self.encrypt(self.decrypt(sealed))

    def _opens(self, sealed: bytes) -> bool:
        try:
            self.decrypt(sealed)
        except ConfigError:
            return False
        return True

    def sign(self, purpose: str, data: str, expires_at: float) -> str:
        """Make a token that proves `data` to `unsign` with the same purpose until `expires_at` (seconds since 1970)."""
        body = f"{int(expires_at)}.{_encode(data.encode())}"
        return f"{body}.{_encode(_signature(self._keys[0], purpose, body))}"

    def unsign(self, purpose: str, token: str, now: float) -> str | None:
        """Give the data of a token of this purpose; None if it expired, or was not made here."""
        body, _, signature = token.rpartition(".")
        given = _decode(signature)
        fits = [hmac.compare_digest(given, _signature(key, purpose, body)) for key in self._keys]
        if not any(fits):
            return None
        expires_at, _, data = body.partition(".")
        return _decode(data).decode() if int(expires_at) > now else None

    def _fernet(self) -> Any:
        if self._locks is None:
            from cryptography.fernet import Fernet, MultiFernet

            keys = [base64.urlsafe_b64encode(_derive(key, "encrypt")) for key in self._keys]
            self._locks = MultiFernet([Fernet(key) for key in keys])
        return self._locks


def open_vault(settings: Settings) -> Vault:
    """Open the vault with the configured keys, else with one made and kept beside the SQLite file (mode 0600).

    Raises ConfigError where there is no key and no place to keep one (PostgreSQL), or a key is too short.
    """
    if settings.secret_key is not None:
        return Vault(settings.secret_key.get_secret_value().split(","))
    path = settings.sqlite_path
    if path is None:
        raise ConfigError(
            "PIPEFLOW_SECRET_KEY is not set, and with PostgreSQL every process must be given the same one: set it to "
            f"{SHORTEST_KEY} or more random characters"
        )
    kept = key_path(path)
    keys = _kept_key(kept).split(",")
    try:
        return Vault(keys)
    except ConfigError as error:
        raise ConfigError(f"{error} (the keys are in {kept}, as PIPEFLOW_SECRET_KEY is not set)") from error


def key_path(database: Path) -> Path:
    """Name the file beside the SQLite file in which the keys are kept that nobody set."""
    return Path(f"{database}.key")


def add_kept_key(path: Path) -> None:
    """Put a new key in front of those that are kept in a file; what was made with them stays readable."""
    keys = f"{secrets.token_urlsafe(48)},{_kept_key(path)}"
    aside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        _write_key(aside, keys)
        aside.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot keep a new secret key in {path}: {error}") from error


def _kept_key(path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _keep_new_key(path)
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot keep a secret key in {path}: {error}. Make it readable and writable, or set PIPEFLOW_SECRET_KEY"
        ) from error


def _keep_new_key(path: Path) -> None:
    # Written aside and linked into place: two first starts at once must not end up with two keys.
    aside = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        _write_key(aside, secrets.token_urlsafe(48))
        os.link(aside, path)
    except FileExistsError:
        return
    finally:
        aside.unlink(missing_ok=True)


def _write_key(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _derive(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, f"pipeflow:{purpose}".encode(), hashlib.sha256)


def _password(key: bytes, company: int) -> str:
    return _encode(_derive(key, f"webhook:{company}"))


def _signature(key: bytes, purpose: str, body: str) -> bytes:
    return hmac.digest(_derive(key, f"sign:{purpose}"), body.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
