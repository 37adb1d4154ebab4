/* Placeholder removed with the first source of this folder. */ typedef int common_config_is_empty;
