//! Who may change a sign-in: refresh, sign-in and sign-out as transactions under one lock.
