-- Packs are compressed with Zstandard; readable from 3. Those there are stay as they are.

COMMENT ON COLUMN pipeflow.bodies.packed IS 'Zstandard, or zlib as earlier releases made it; plain where entries is NULL';
