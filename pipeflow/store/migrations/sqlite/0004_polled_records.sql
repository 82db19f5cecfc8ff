-- Which changes of a record polling told already, so that their late deliveries are known as twins; and what a
-- reconciliation cost.

ALTER TABLE records ADD COLUMN polled_from REAL;
ALTER TABLE records ADD COLUMN polled_to REAL;
ALTER TABLE proofs ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0;
