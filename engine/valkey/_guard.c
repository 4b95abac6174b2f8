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
 * whose command it is. What replicas say there is looked for in CLIENT LIST: the client whose words
 * are being read has as many bytes of them as there are here. Where several have, and one of those
 * is the service's, the command goes on, to what ACL says of it.
 *
 * The declarations are those parts of the engines' module interface that are used here. It is looked
 * up by name when the module is loaded, and is the same in Redis from 6.2 and in Valkey.
 */
#include <stddef.h>
#include <stdlib.h>
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
typedef struct Reply Reply;

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
static Reply *(*call_command)(Context *, const char *, const char *, ...);
static const char *(*reply_bytes)(Reply *, size_t *);
static void (*free_reply)(Reply *);

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

static int is_own_user(const char *name, size_t size) {
    for (int at = 0; at < own_count; at++)
        if (size == strlen(own_users[at]) && memcmp(name, own_users[at], size) == 0) return 1;
    return 0;
}

/* Find what stands behind *label* in a line of CLIENT LIST, up to the next space. */
static const char *find_field(const char *line, const char *end, const char *label, size_t *size) {
    size_t length = strlen(label);
    for (const char *at = line; at + length <= end; at++) {
        if (memcmp(at, label, length) != 0) continue;
        const char *value = at + length, *behind = value;
        while (behind < end && *behind != ' ') behind++;
        *size = (size_t)(behind - value);
        return value;
    }
    return NULL;
}

/* Whether it may be one of the service's users who says this, by how long it is. */
static int may_be_ours(FilterContext *call) {
    size_t said = 0, size;
    for (int at = 0; at < argument_count(call); at++) {
        string_bytes(argument_get(call, at), &size);
        said += size;
    }
    Reply *reply = call_command(context, "CLIENT", "c", "LIST");
    if (reply == NULL) return 1;
    const char *line = reply_bytes(reply, &size), *end = line == NULL ? NULL : line + size;
    int found = line == NULL;
    while (line < end && !found) {
        const char *behind = memchr(line, '\n', (size_t)(end - line));
        if (behind == NULL) behind = end;
        const char *held = find_field(line, behind, " argv-mem=", &size);
        if (held != NULL && strtoull(held, NULL, 10) == said) {
            const char *user = find_field(line, behind, " user=", &size);
            found = user != NULL && (is_own_user(user, size) || is_word(user, size, "(superuser)"));
        }
        line = behind + 1;
    }
    free_reply(reply);
    return found;
}

/* Whether whoever says it is one of the service's users, or nobody's: the link to a primary. */
static int is_ours(FilterContext *call) {
    String *name = user_by_id(context, client_id(call));
    if (name == NULL) return 1;
    size_t size;
    const char *bytes = string_bytes(name, &size);
    int found = is_own_user(bytes, size);
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
        static const char *const EVERY_SECOND[] = {"GETACK", "ACK", NULL};
        /* A primary asks its replicas for it, over a link that may be anybody's. And what replicas
         * say every second is not looked for in a list of everybody. */
        return is_among(name, size, OF_ENGINES) &&
               !is_argument_among(call, 1, client_id != NULL ? ACKNOWLEDGE : EVERY_SECOND);
    }
    default:
        return 0;
    }
}

/* Whether a closed command is let through to ACL all the same. */
static int is_left_alone(FilterContext *call, const char *name) {
    if (client_id != NULL) return is_ours(call);
    int has_own_spelling = strchr("aAcC", name[0]) != NULL;
    return !has_own_spelling && may_be_ours(call);
}

static void filter(FilterContext *call) {
    size_t size;
    const char *name = string_bytes(argument_get(call, 0), &size);
    if (size < 3 || size > NAME_BYTES_MAX || !is_closed(call, name, size)) return;
    if (is_left_alone(call, name)) return;
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
        find("SetModuleOptions", &set_options) || find("Call", &call_command) ||
        find("CallReplyStringPtr", &reply_bytes) || find("FreeCallReply", &free_reply))
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
