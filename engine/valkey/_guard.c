/* An engine module that makes commands of the service unknown to customers.
 *
 * CONFIG and its like are renamed. PSYNC and REPLCONF cannot be, because engines say them to each
 * other, nor can a single subcommand of ACL or CLUSTER. ACL keeps customers from these, and says
 * NOPERM. With this module the engine says of them what it says of any word that it does not know:
 * a filter puts a NUL byte behind the command's name, so that no command is found by it, and what
 * the engine prints ends before that byte. It decides how a refusal reads, never who is refused:
 * ACL goes on to do that.
 *
 * Arguments are the names of the service's own users. Who says ACL or CLUSTER as the control plane
 * spells it (aCL, cLUSTER) is taken for it as well, because engines before 7.2 do not tell a filter
 * whose command it is; there PSYNC and REPLCONF are left alone.
 *
 * The declarations are those parts of the engines' module interface that are used here. It is looked
 * up by name when the module is loaded, and is the same in Redis from 6.2 and in Valkey.
 */
#include <stddef.h>
#include <string.h>
#include <strings.h>

#if defined(_WIN32)
#error "there are no engines to load it"
#endif

enum { OK = 0, ERR = 1, API_VERSION = 1, MODULE_VERSION = 1 };
/* What a module has to be able to stand: bad dumps, and a load beside the data that is served. */
enum { HANDLE_IO_ERRORS = 1 << 0, HANDLE_ASYNC_LOAD = 1 << 2 };
enum { NAME_BYTES_MAX = 8, USERS_MAX = 4, USER_BYTES_MAX = 64 };

typedef struct Context Context;
typedef struct String String;
typedef struct FilterContext FilterContext;
typedef struct Filter Filter;

static void (*set_attributes)(Context *, const char *, int, int);
static Filter *(*register_filter)(Context *, void (*)(FilterContext *), int);
static int (*argument_count)(FilterContext *);
static const String *(*argument_get)(FilterContext *, int);
static int (*argument_replace)(FilterContext *, int, String *);
static unsigned long long (*client_id)(FilterContext *); /* NULL before 7.2 */
static String *(*user_by_id)(Context *, unsigned long long);
static const char *(*string_bytes)(const String *, size_t *);
static String *(*create_string)(Context *, const char *, size_t);
static void (*free_string)(Context *, String *);
static Context *(*detached_context)(Context *);
static void (*set_options)(Context *, int);
static int (*all_options)(void); /* NULL before 7.2 */

static Context *context; /* for strings that belong to no call of a module's command */
static char own_users[USERS_MAX][USER_BYTES_MAX + 1];
static int own_count;

static const char *const OF_ENGINES[] = {"PSYNC", "SYNC", "REPLCONF", NULL};
static const char *const OF_ACL[] = {"SETUSER", "DELUSER", "LOAD", "SAVE", NULL};
static const char *const OF_CLUSTER[] = {
    "ADDSLOTS", "ADDSLOTSRANGE", "BUMPEPOCH", "CANCELSLOTMIGRATIONS", "DELSLOTS",
    "DELSLOTSRANGE", "FAILOVER", "FLUSHSLOTS", "FORGET", "GETSLOTMIGRATIONS", "LINKS",
    "MEET", "MIGRATESLOTS", "REPLICATE", "RESET", "SAVECONFIG", "SET-CONFIG-EPOCH",
    "SETSLOT", "SYNCSLOTS", NULL};

static int is_word(const char *bytes, size_t size, const char *word) {
    return size == strlen(word) && strncasecmp(bytes, word, size) == 0;
}

static int is_among(const char *bytes, size_t size, const char *const *words) {
    for (; *words != NULL; words++)
        if (is_word(bytes, size, *words)) return 1;
    return 0;
}

static int is_argument_among(FilterContext *call, int at, const char *const *words) {
    if (argument_count(call) <= at) return 0;
    size_t size;
    const char *bytes = string_bytes(argument_get(call, at), &size);
    return is_among(bytes, size, words);
}

/* Whether whoever says it is one of the service's users, or nobody's: the link to a primary. */
static int is_ours(FilterContext *call) {
    String *name = user_by_id(context, client_id(call));
    if (name == NULL) return 1;
    size_t size;
    const char *bytes = string_bytes(name, &size);
    int found = 0;
    for (int at = 0; at < own_count && !found; at++)
        found = size == strlen(own_users[at]) && memcmp(bytes, own_users[at], size) == 0;
    free_string(context, name);
    return found;
}

/* Whether the command is to be unknown to customers. This runs for every command of everybody. */
static int is_closed(FilterContext *call, const char *name, size_t size) {
    switch (name[0] | 0x20) {
    case 'a':
        return size == 3 && memcmp(name, "aCL", 3) != 0 && is_word(name, size, "ACL") &&
               is_argument_among(call, 1, OF_ACL);
    case 'c':
        return size == 7 && memcmp(name, "cLUSTER", 7) != 0 && is_word(name, size, "CLUSTER") &&
               is_argument_among(call, 1, OF_CLUSTER);
    case 'p':
    case 'r':
    case 's': {
        static const char *const ACKNOWLEDGE[] = {"GETACK", NULL};
        /* A primary asks its replicas for it, over a link that may be anybody's. */
        return client_id != NULL && is_among(name, size, OF_ENGINES) &&
               !is_argument_among(call, 1, ACKNOWLEDGE);
    }
    default:
        return 0;
    }
}

static void filter(FilterContext *call) {
    size_t size;
    const char *name = string_bytes(argument_get(call, 0), &size);
    if (size < 3 || size > NAME_BYTES_MAX || !is_closed(call, name, size)) return;
    if (client_id != NULL && is_ours(call)) return;
    char unknown[NAME_BYTES_MAX + 1];
    memcpy(unknown, name, size);
    unknown[size] = '\0';
    argument_replace(call, 0, create_string(NULL, unknown, size + 1));
}

static int (*get_api)(const char *, void *);

static int find(const char *name, void *place) {
    char whole[64];
    for (int at = 0; at < 2; at++) {
        strcpy(whole, at ? "RedisModule_" : "ValkeyModule_");
        strncat(whole, name, sizeof(whole) - strlen(whole) - 1);
        if (get_api(whole, place) == OK) return OK;
    }
    *(void **)place = NULL;
    return ERR;
}

int ValkeyModule_OnLoad(Context *given, String **arguments, int count) {
    /* By agreement the first member of a module's context leads to everything else. */
    memcpy(&get_api, given, sizeof(get_api));
    if (find("SetModuleAttribs", &set_attributes) || find("RegisterCommandFilter", &register_filter) ||
        find("CommandFilterArgsCount", &argument_count) ||
        find("CommandFilterArgGet", &argument_get) ||
        find("CommandFilterArgReplace", &argument_replace) ||
        find("StringPtrLen", &string_bytes) ||
        find("CreateString", &create_string) || find("FreeString", &free_string) ||
        find("GetDetachedThreadSafeContext", &detached_context) ||
        find("SetModuleOptions", &set_options))
        return ERR;
    find("GetModuleOptionsAll", &all_options);
    if (find("CommandFilterGetClientId", &client_id) == OK &&
        find("GetClientUserNameById", &user_by_id))
        return ERR;
    set_attributes(given, "cachefleet", MODULE_VERSION, API_VERSION);
    /* Data is none of its business. Engines that are not told so do without diskless loading, and
     * without atomic slot migration. */
    set_options(given, all_options ? all_options() : HANDLE_IO_ERRORS | HANDLE_ASYNC_LOAD);
    context = detached_context(given);
    for (int at = 0; at < count; at++) {
        size_t size;
        const char *bytes = string_bytes(arguments[at], &size);
        if (own_count == USERS_MAX || size > USER_BYTES_MAX) return ERR;
        memcpy(own_users[own_count++], bytes, size);
    }
    return register_filter(given, filter, 0) == NULL ? ERR : OK;
}

int RedisModule_OnLoad(Context *given, String **arguments, int count) {
    return ValkeyModule_OnLoad(given, arguments, count);
}
