/* Placeholder removed with the first source of this folder. */ typedef int common_metrics_is_empty;
