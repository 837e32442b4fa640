//! Faces for others: the stdio bridge.
