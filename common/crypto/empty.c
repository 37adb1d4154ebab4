/* Placeholder removed with the first source of this folder. */ typedef int common_crypto_is_empty;
