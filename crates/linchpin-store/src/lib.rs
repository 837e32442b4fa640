//! What is kept: the record of a sign-in, its key and secrets, and the stores it lives in.
