/* Placeholder removed with the first source of this folder. */ typedef int common_rpc_is_empty;
