/* Placeholder removed with the first source of this folder. */ typedef int common_wire_is_empty;
