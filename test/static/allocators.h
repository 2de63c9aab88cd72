/*-------------------------------------------------------------------------
 *
 * allocators.h
 *	  Tells gcc -fanalyzer which functions allocate what pfree() frees
 *
 * It goes in front of each file that is read by test/static.sh; nothing is
 * built with it.  None of these functions returns NULL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#define PALLOCATES	__attribute__((malloc, malloc(pfree, 1), returns_nonnull))

extern void *palloc(Size size) PALLOCATES;
extern void *palloc0(Size size) PALLOCATES;
extern void *MemoryContextAlloc(MemoryContext context, Size size) PALLOCATES;
extern void *MemoryContextAllocZero(MemoryContext context, Size size) PALLOCATES;
extern char *pstrdup(const char *in) PALLOCATES;
extern char *pnstrdup(const char *in, Size len) PALLOCATES;
extern char *psprintf(const char *fmt,...) PALLOCATES;
extern char *MemoryContextStrdup(MemoryContext context, const char *string) PALLOCATES;
extern char *text_to_cstring(const text *t) PALLOCATES;
