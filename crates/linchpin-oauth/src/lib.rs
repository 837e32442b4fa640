//! What a provider says: discovery, registration, authorization, typed exchanges, revocation, challenges.
