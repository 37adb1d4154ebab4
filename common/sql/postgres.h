/*
 * The PostgreSQL engine, for struct sql_options.drivers; "postgresql://user@host/database". It is a
 * library of its own (common_sql_postgres), so that programs without it need no libpq.
 */
#ifndef COMMON_SQL_POSTGRES_H
#define COMMON_SQL_POSTGRES_H

struct sql_driver;

extern const struct sql_driver sql_driver_postgres;

#endif
