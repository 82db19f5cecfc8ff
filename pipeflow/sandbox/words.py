"""Names and titles of the sample data, in several scripts. Imports nothing of ours."""

from __future__ import annotations

from typing import Final

PEOPLE: Final = (
    "Maarja Tamm",
    "Jonas Öberg",
    "Łukasz Wiśniewski",
    "Ирина Коваленко",
    "佐藤 美咲",
    "김 서연",
    "محمد العلي",
    "Νίκος Παπαδόπουλος",
    "अनन्या शर्मा",
    "נועה לוי",
    "Zoë D’Angelo-Núñez",
    "陈 伟",
    "Grace Okafor",
    "Tomás Ferreira",
    "Nguyễn Thị Hoa",
    "Ólafur Jónsson",
    "สมชาย ใจดี",
    "Élodie Dubois",
    "Ana María Quiñones",
    "John Smith",
)
ORGANIZATIONS: Final = (
    "Põhjala Logistics OÜ",
    "Blåbær Kaffe AB",
    "Zakłady Mechaniczne Żuraw",
    "Київські Пекарні",
    "北星電機株式会社",
    "한빛 디자인",
    "شركة النخيل للتجارة",
    "Αιγαίο Ναυτιλιακή",
    "गंगा टेक्सटाइल्स",
    "Ofek Analytics בע״מ",
    'O\'Hara & Sons "Builders"',
    "上海蓝天科技",
    "Lagos Solar Works",
    "Azulejos do Porto Lda",
    "Smith <Consulting> & Co",
)
DEALS: Final = (
    "Annual maintenance",
    "Warehouse upgrade",
    "Pilot project",
    "Website relaunch",
    "Fleet contract",
    "Training package",
    "Solar roof",
    "New packaging line",
    "Security audit",
    "Office furniture",
)
PRODUCTS: Final = (
    ("Onboarding day", "ON-1", 900),
    ("Support plan", "SP-12", 240),
    ("Sensor kit", "SK-7", 129.5),
    ("Licence, one seat", "LI-1", 39),
)
STREETS: Final = (
    "Pikk 12, Tallinn, Estonia",
    "Storgatan 4, Malmö, Sweden",
    "Rua do Sol 77, Porto, Portugal",
    "1-2-3 Kita, Sapporo, Japan",
)
STAGES: Final = {
    "Sales": ("Lead in", "Contact made", "Demo scheduled", "Proposal made", "Negotiations started"),
    "Renewals": ("Due", "Offer sent", "In talks"),
}
ACTIVITY_TYPES: Final = ("call", "meeting", "task", "deadline", "email", "lunch")
SUBJECTS: Final = ("First call", "Demo", "Send the offer", "Check references", "Lunch at the fair", "Follow up")
LOST_REASONS: Final = ("Too expensive", "No answer", "Chose a competitor", "No budget this year")
NOTES: Final = (
    "<p>Wants a call <b>before</b> noon.</p>",
    "<p>Met at the fair; asked for references.</p>",
    "Budget agreed, contract with legal.",
)
USERS: Final = (
    ("Kadri Saar", "kadri", True),
    ("Peeter Mets", "peeter", False),
    ("Sofía Ruiz", "sofia", False),
    ("Daniel Weiss", "daniel", False),
)
COMPANIES: Final = ("acme", "borealis", "cobalt", "delta", "ember", "fjord", "garnet", "harbor")
