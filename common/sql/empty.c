/* Placeholder removed with the first source of this folder. */ typedef int common_sql_is_empty;
