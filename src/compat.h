/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The differences between PostgreSQL versions, all in one place.
 *
 * What a newer version does is written in the code as it is; older versions
 * are made to look like it, here.  An entry goes when its version does.
 *
 * IDENTIFICATION
 *	  src/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WHATSAPP_COMPAT_H
#define WHATSAPP_COMPAT_H

/* 16: there is one function to ask for who owns what */
#if PG_VERSION_NUM >= 160000
#define owns_database(database) \
	object_ownercheck(DatabaseRelationId, database, GetUserId())
#else
#define owns_database(database) pg_database_ownercheck(database, GetUserId())
#endif

/* 16: an error may be returned rather than raised */
#if PG_VERSION_NUM >= 160000
#define parse_qualified_name(name)	stringToQualifiedNameList(name, NULL)
#else
#define parse_qualified_name(name)	stringToQualifiedNameList(name)
#endif

/* 17: a lexing context may be given, to be filled in */
#if PG_VERSION_NUM >= 170000
#define make_lex_context(json, len) \
	makeJsonLexContextCstringLen(NULL, json, len, PG_UTF8, false)
#else
#define make_lex_context(json, len) \
	makeJsonLexContextCstringLen(json, len, PG_UTF8, false)
#endif

/* 17: a set of events belongs to a resource owner, no longer to a context */
#if PG_VERSION_NUM >= 170000
#define create_wait_set(nevents)	CreateWaitEventSet(NULL, nevents)
#else
#define create_wait_set(nevents) \
	CreateWaitEventSet(TopMemoryContext, nevents)
#endif

/* 17: a worker may run as a role that cannot log in */
#if PG_VERSION_NUM >= 170000
#define CONNECT_AS_ANY_ROLE BGWORKER_BYPASS_ROLELOGINCHECK
#else
#define CONNECT_AS_ANY_ROLE 0
#endif

/* 17: extensions name what they wait for */
#if PG_VERSION_NUM >= 170000
#define new_wait_event(name)	WaitEventExtensionNew(name)
#else
#define new_wait_event(name)	((void) (name), PG_WAIT_EXTENSION)
#endif

/* 18: a module tells its name and version */
#if PG_VERSION_NUM >= 180000
#define MODULE_MAGIC(module, ver) \
	PG_MODULE_MAGIC_EXT(.name = module, .version = ver)
#else
#define MODULE_MAGIC(module, ver)	PG_MODULE_MAGIC
#endif

#endif							/* WHATSAPP_COMPAT_H */
