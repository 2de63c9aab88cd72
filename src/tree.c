/*-------------------------------------------------------------------------
 *
 * tree.c
 *	  Paths into a JSON document, grown into one tree.
 *
 * A path is the keys of members, with dots between them.  Arrays are no part
 * of it: their elements belong where the array does.
 *
 * IDENTIFICATION
 *	  src/tree.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "whatsapp.h"

static int	compare_names(const char *a, int a_len, const char *b, int b_len);

/*
 * Make a tree without branches, in the current memory context.
 */
WaNode *
wa_tree_create(void)
{
	WaNode	   *root = palloc0(sizeof(WaNode));

	root->fallback = -1;
	return root;
}

/*
 * Follow a path, growing the steps that are not there, in the current memory
 * context.
 */
WaNode *
wa_tree_grow(WaNode *node, const char *path)
{
	while (*path != '\0')
	{
		int			len = strcspn(path, ".");
		WaNode	  **link = &node->first_child;
		int			order = -1;

		while (*link != NULL &&
			   (order = compare_names((*link)->name, (*link)->name_len,
									  path, len)) < 0)
			link = &(*link)->next_sibling;

		if (*link == NULL || order != 0)
		{
			WaNode	   *child = wa_tree_create();

			child->name = pnstrdup(path, len);
			child->name_len = len;
			child->parent = node;
			child->next_sibling = *link;
			*link = child;
		}
		node = *link;
		path += len;
		if (*path == '.')
			path++;
	}
	return node;
}

/*
 * Find the child that is named by a key, when one asks for the keys of an
 * object in the order in which jsonb has them: *next is where to look from,
 * the first child at the beginning.  Returns NULL if there is none.
 */
const WaNode *
wa_tree_step(const WaNode **next, const JsonbValue *key)
{
	int			order = -1;

	while (*next != NULL &&
		   (order = compare_names((*next)->name, (*next)->name_len,
								  key->val.string.val,
								  key->val.string.len)) < 0)
		*next = (*next)->next_sibling;
	return order == 0 ? *next : NULL;
}

/*
 * Find the innermost node that has both nodes in or below it.
 */
WaNode *
wa_tree_enclosing(WaNode *a, const WaNode *b)
{
	for (;; a = a->parent)
	{
		for (const WaNode *node = b; node != NULL; node = node->parent)
		{
			if (node == a)
				return a;
		}
	}
}

/*
 * The order in which jsonb has the keys of an object.
 */
static int
compare_names(const char *a, int a_len, const char *b, int b_len)
{
	if (a_len != b_len)
		return a_len - b_len;
	return memcmp(a, b, a_len);
}
