//! Durable truth: the journal of receipts, its views, and its verification.
