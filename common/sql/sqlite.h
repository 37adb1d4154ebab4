/* The SQLite engine, for struct sql_options.drivers; "sqlite:/absolute/path". */
#ifndef COMMON_SQL_SQLITE_H
#define COMMON_SQL_SQLITE_H

struct sql_driver;

extern const struct sql_driver sql_driver_sqlite;

#endif
