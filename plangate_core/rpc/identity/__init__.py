"""Who calls: tokens, JSON Web Tokens of an issuer, client certificates, or a claim where nothing is checked."""
