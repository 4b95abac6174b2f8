/* The two requests a cache is asked most, from socket to socket without a line of Python.
 *
 * A Channel stands in for Connection.on_ready. It receives, and where what came is one plain
 * `get` (of any number of keys, all there) or one plain `set` over an item of the same size,
 * it carries that out on the store's own objects and sends the reply. Everything else, bytes
 * and all, goes to Connection.on_data: nothing is decided here that Python would decide
 * otherwise, and without this module the server does the same, slower.
 *
 * The store's attributes are read where their slots are; Pump() looks the places up and
 * refuses a class that has lost one. The interpreter's lock is kept through both system calls:
 * the sockets do not block, and the server has one thread.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#ifdef Py_GIL_DISABLED
#error "relies on the interpreter's lock"
#endif
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* the server ignores SIGPIPE */
#endif

enum {
    IN_BYTES = 256 << 10,
    OUT_BYTES = 64 << 10,
    KEYS_MAX = 256,
    KEY_BYTES_MAX = 250,
    RELATIVE_S_MAX = 60 * 60 * 24 * 30, /* above this an exptime is a date */
    SEGMENT_MASK = 3,                   /* the bits of an item, as lru.py names them */
    FETCHED = 4,
    ACTIVE = 128,
};

static const char VALUE[] = "VALUE ", END[] = "END\r\n", STORED[] = "STORED\r\n";
static char in[IN_BYTES], out[OUT_BYTES];
static PyObject *name_on_ready, *name_on_data, *name_keep, *name_close;

/* -- slots ------------------------------------------------------------------------------ */

typedef struct { const char *name; Py_ssize_t offset; } slot;

enum { TABLE, NOW, PLAIN_KEYS, CAS_ID, TIMED_SETS, CLASS_SETS, HITS, QUICK_MAX, WITH_CAS, STATS, STORE_SLOTS };
enum { BLOB, EXP, CAS, TIME, BITS, SLAB, ITEM_SLOTS };
enum { CMD_GET, CMD_SET, TOTAL_ITEMS, BYTES_READ, BYTES_WRITTEN, STATS_SLOTS };
enum { SESSION, READ_BYTES, LAST_AT, CONN_SLOTS };
enum { IDLE, SESSION_SLOTS };

typedef struct {
    PyObject_HEAD
    PyObject *store, *stats, *never;
    PyTypeObject *item, *conn, *session;
    slot of_store[STORE_SLOTS], of_item[ITEM_SLOTS], of_stats[STATS_SLOTS];
    slot of_conn[CONN_SLOTS], of_session[SESSION_SLOTS];
} pump;

typedef struct {
    PyObject_HEAD
    pump *pump;
    PyObject *conn;
    int fd;
} channel;

static const char *const STORE_NAMES[] = {
    "table", "now", "plain_keys", "cas_id", "timed_sets", "class_sets", "hits", "quick_bytes_max", "with_cas", "stats"};
static const char *const ITEM_NAMES[] = {"blob", "exp", "cas", "time", "bits", "slab"};
static const char *const STATS_NAMES[] = {"cmd_get", "cmd_set", "total_items", "bytes_read", "bytes_written"};
static const char *const CONN_NAMES[] = {"session", "read_bytes", "last_at"};
static const char *const SESSION_NAMES[] = {"idle"};

static int find_slots(PyTypeObject *type, const char *const names[], slot slots[], int count) {
    for (int i = 0; i < count; i++) {
        PyObject *found = PyObject_GetAttrString((PyObject *)type, names[i]);
        if (found == NULL) return -1;
        PyMemberDef *member = Py_IS_TYPE(found, &PyMemberDescr_Type) ? ((PyMemberDescrObject *)found)->d_member : NULL;
        Py_DECREF(found); /* the type keeps it */
        if (member == NULL || member->type != T_OBJECT_EX) {
            PyErr_Format(PyExc_TypeError, "%s.%s is no slot", type->tp_name, names[i]);
            return -1;
        }
        slots[i].name = names[i];
        slots[i].offset = member->offset;
    }
    return 0;
}

static inline PyObject **place(PyObject *of, slot where) {
    return (PyObject **)((char *)of + where.offset);
}

/* A borrowed reference, or NULL with AttributeError set. */
static inline PyObject *look(PyObject *of, slot where) {
    PyObject *value = *place(of, where);
    if (value == NULL) PyErr_SetString(PyExc_AttributeError, where.name);
    return value;
}

/* Takes over the reference to value; NULL is passed on as failure. */
static inline int put(PyObject *of, slot where, PyObject *value) {
    if (value == NULL) return -1;
    PyObject **there = place(of, where), *old = *there;
    *there = value;
    Py_XDECREF(old);
    return 0;
}

static inline int number_at(PyObject *of, slot where, long long *number) {
    PyObject *value = look(of, where);
    if (value == NULL) return -1;
    *number = PyLong_AsLongLong(value);
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

static inline int add_to(PyObject *of, slot where, long long amount) {
    long long number;
    if (number_at(of, where, &number) < 0) return -1;
    return put(of, where, PyLong_FromLongLong(number + amount));
}

/* -- requests --------------------------------------------------------------------------- */
/* Each returns how many bytes of reply are in `out`; 0: not for us, nothing done; -1: raised. */

static PyObject *find_item(pump *p, const char *key, Py_ssize_t len) {
    if (len < 1 || len > KEY_BYTES_MAX) return NULL;
    PyObject *table = look(p->store, p->of_store[TABLE]);
    PyObject *name = table == NULL ? NULL : PyBytes_FromStringAndSize(key, len);
    if (name == NULL) return NULL;
    PyObject *item = PyDict_GetItemWithError(table, name); /* borrowed from the table */
    Py_DECREF(name);
    return item != NULL && Py_IS_TYPE(item, p->item) ? item : NULL;
}

static int note_read(pump *p, PyObject *item, PyObject *now) {
    long long bits;
    if (number_at(item, p->of_item[BITS], &bits) < 0) return -1;
    if (bits >= ACTIVE) return 0;
    if (!(bits & FETCHED)) return put(item, p->of_item[BITS], PyLong_FromLongLong(bits | FETCHED));
    if (put(item, p->of_item[TIME], Py_NewRef(now)) < 0) return -1;
    return put(item, p->of_item[BITS], PyLong_FromLongLong(bits | ACTIVE));
}

/* Add one to a list of numbers. */
static int add_one(PyObject *list, Py_ssize_t at) {
    PyObject *old = PyList_GetItem(list, at);
    long long number = old == NULL ? -1 : PyLong_AsLongLong(old);
    if (number == -1 && PyErr_Occurred()) return -1;
    PyObject *grown = PyLong_FromLongLong(number + 1);
    return grown == NULL ? -1 : PyList_SetItem(list, at, grown);
}

/* Count a hit in the segment and class of the item, as store.note_hit does. */
static int count_hit(pump *p, PyObject *item) {
    long long bits, slab;
    PyObject *hits = look(p->store, p->of_store[HITS]);
    if (hits == NULL || number_at(item, p->of_item[BITS], &bits) < 0) return -1;
    if (number_at(item, p->of_item[SLAB], &slab) < 0) return -1;
    return add_one(hits, (Py_ssize_t)((bits & SEGMENT_MASK) << 6 | slab));
}

static Py_ssize_t answer_get(pump *p, const char *data, Py_ssize_t n) {
    static PyObject *found[KEYS_MAX];
    const char *at = data + 4, *end = data + n - 2;
    Py_ssize_t size = sizeof END - 1;
    int count = 0;
    long long now, exp;
    /* Keys in the table hold no blank and no line end, so a key that is found was a whole word. */
    if (look(p->store, p->of_store[PLAIN_KEYS]) != Py_True) return PyErr_Occurred() ? -1 : 0;
    if (number_at(p->store, p->of_store[NOW], &now) < 0) return -1;
    for (;;) {
        const char *stop = memchr(at, ' ', end - at);
        if (stop == NULL) stop = end;
        PyObject *item = count < KEYS_MAX ? find_item(p, at, stop - at) : NULL;
        if (item == NULL) return PyErr_Occurred() ? -1 : 0;
        if (number_at(item, p->of_item[EXP], &exp) < 0) return -1;
        if (exp <= now) return 0;
        PyObject *blob = look(item, p->of_item[BLOB]);
        if (blob == NULL) return -1;
        size += PyBytes_Size(blob);
        if (size > OUT_BYTES) return 0;
        found[count++] = item;
        if (stop == end) break;
        at = stop + 1;
    }
    PyObject *seen_at = look(p->store, p->of_store[NOW]);
    char *to = out;
    for (int i = 0; i < count; i++) {
        PyObject *blob = *place(found[i], p->of_item[BLOB]);
        memcpy(to, PyBytes_AS_STRING(blob), PyBytes_GET_SIZE(blob));
        to += PyBytes_GET_SIZE(blob);
        if (count_hit(p, found[i]) < 0 || note_read(p, found[i], seen_at) < 0) return -1;
    }
    memcpy(to, END, sizeof END - 1);
    return add_to(p->stats, p->of_stats[CMD_GET], count) < 0 ? -1 : size;
}

/* A decimal number up to `stop`, without sign or leading zeros; how many digits, 0 for another. */
static int digits(const char *at, const char *stop, int most, long long *number) {
    Py_ssize_t len = stop - at;
    if (len < 1 || len > most || (*at == '0' && len > 1)) return 0;
    for (*number = 0; at < stop; at++) {
        if (*at < '0' || *at > '9') return 0;
        *number = *number * 10 + *at - '0';
    }
    return (int)len;
}

/* Count a store in the class of the item, as store.renew does. */
static int count_set(pump *p, PyObject *item) {
    long long slab;
    PyObject *sets = look(p->store, p->of_store[CLASS_SETS]);
    if (sets == NULL || number_at(item, p->of_item[SLAB], &slab) < 0) return -1;
    if (add_one(sets, (Py_ssize_t)slab) < 0) return -1;
    if (add_to(p->stats, p->of_stats[TOTAL_ITEMS], 1) < 0) return -1;
    return add_to(p->stats, p->of_stats[CMD_SET], 1);
}

static int fill(pump *p, PyObject *item, PyObject *blob, long long exptime) {
    long long cas_id, bits, now;
    PyObject *seen_at = look(p->store, p->of_store[NOW]);
    if (seen_at == NULL || number_at(p->store, p->of_store[NOW], &now) < 0 ||
        number_at(p->store, p->of_store[CAS_ID], &cas_id) < 0 || number_at(item, p->of_item[BITS], &bits) < 0) {
        Py_DECREF(blob);
        return -1;
    }
    put(item, p->of_item[BLOB], blob);
    if (exptime && add_to(p->store, p->of_store[TIMED_SETS], 1) < 0) return -1;
    if (put(item, p->of_item[EXP], exptime ? PyLong_FromLongLong(now + exptime) : Py_NewRef(p->never)) < 0) return -1;
    PyObject *cas = PyLong_FromLongLong(cas_id + 1);
    if (cas == NULL) return -1;
    put(p->store, p->of_store[CAS_ID], Py_NewRef(cas));
    put(item, p->of_item[CAS], cas);
    put(item, p->of_item[TIME], Py_NewRef(seen_at));
    return put(item, p->of_item[BITS], PyLong_FromLongLong(bits & SEGMENT_MASK));
}

static Py_ssize_t answer_set(pump *p, const char *data, Py_ssize_t n) {
    long long flags, exptime, size, most;
    const char *key = data + 4, *eol = memchr(key, '\n', n - 4), *word[4];
    if (eol == NULL || *--eol != '\r') return 0;
    const char *at = key;
    for (int i = 0; i < 3; i++) { /* where the words after the key begin */
        at = memchr(at, ' ', eol - at);
        if (at == NULL) return 0;
        word[i] = ++at;
    }
    Py_ssize_t key_len = word[0] - 1 - key;
    int flag_digits = digits(word[0], word[1] - 1, 9, &flags), size_digits = digits(word[2], eol, 6, &size);
    if (!flag_digits || !size_digits || !digits(word[1], word[2] - 1, 7, &exptime)) return 0;
    if (exptime > RELATIVE_S_MAX || n != eol + 2 - data + size + 2) return 0;
    if (number_at(p->store, p->of_store[QUICK_MAX], &most) < 0) return -1;
    if (size + 2 > most || look(p->store, p->of_store[WITH_CAS]) != Py_True) return PyErr_Occurred() ? -1 : 0;
    PyObject *item = find_item(p, key, key_len);
    PyObject *old = item == NULL ? NULL : look(item, p->of_item[BLOB]);
    if (old == NULL) return PyErr_Occurred() ? -1 : 0;
    Py_ssize_t head_len = sizeof VALUE - 1 + key_len + 1 + flag_digits + 1 + size_digits + 2;
    if (PyBytes_Size(old) != head_len + size + 2) return 0;
    PyObject *blob = PyBytes_FromStringAndSize(NULL, head_len + size + 2);
    if (blob == NULL) return -1;
    char *to = PyBytes_AS_STRING(blob);
    memcpy(to, VALUE, sizeof VALUE - 1);
    memcpy(to += sizeof VALUE - 1, key, word[1] - 1 - key); /* key and flags */
    memcpy(to += word[1] - 1 - key, word[2] - 1, data + n - (word[2] - 1)); /* size and data */
    if (memcmp(PyBytes_AS_STRING(blob), PyBytes_AS_STRING(old), head_len) != 0) {
        Py_DECREF(blob);
        return 0; /* other flags and another size, as long together */
    }
    if (fill(p, item, blob, exptime) < 0 || count_set(p, item) < 0) return -1;
    memcpy(out, STORED, sizeof STORED - 1);
    return sizeof STORED - 1;
}

/* -- a connection ----------------------------------------------------------------------- */

static PyObject *give_up(channel *self) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) Py_RETURN_NONE;
    return PyObject_CallMethodNoArgs(self->conn, name_close);
}

static PyObject *send_reply(channel *self, Py_ssize_t size) {
    pump *p = self->pump;
    ssize_t sent = send(self->fd, out, size, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return give_up(self);
        sent = 0;
    }
    if (add_to(p->stats, p->of_stats[BYTES_WRITTEN], sent) < 0) return NULL;
    if (sent == size) Py_RETURN_NONE;
    PyObject *reply = PyBytes_FromStringAndSize(out, size);
    PyObject *done = reply == NULL ? NULL : PyLong_FromSsize_t(sent);
    PyObject *result = done == NULL ? NULL : PyObject_CallMethodObjArgs(self->conn, name_keep, reply, done, NULL);
    Py_XDECREF(reply);
    Py_XDECREF(done);
    return result;
}

static PyObject *on_ready(channel *self, PyObject *events) {
    pump *p = self->pump;
    long long room;
    PyObject *session = look(self->conn, p->of_conn[SESSION]);
    if (session == NULL) return NULL;
    /* While a reply waits to be taken, it is not POLLIN that comes. */
    if (PyLong_AsLong(events) != POLLIN || !Py_IS_TYPE(session, p->session) ||
        *place(session, p->of_session[IDLE]) != Py_True)
        return PyErr_Occurred() ? NULL : PyObject_CallMethodOneArg(self->conn, name_on_ready, events);
    if (number_at(self->conn, p->of_conn[READ_BYTES], &room) < 0) return NULL;
    if (room > IN_BYTES) room = IN_BYTES;
    ssize_t n = recv(self->fd, in, (size_t)room, 0);
    if (n < 0) return give_up(self);
    if (n == 0) return PyObject_CallMethodNoArgs(self->conn, name_close);
    PyObject *now = look(p->store, p->of_store[NOW]);
    if (now == NULL || put(self->conn, p->of_conn[LAST_AT], Py_NewRef(now)) < 0) return NULL;
    if (add_to(p->stats, p->of_stats[BYTES_READ], n) < 0) return NULL;
    Py_ssize_t size = 0;
    if (n > 6 && n < room && in[n - 2] == '\r' && in[n - 1] == '\n') {
        if (memcmp(in, "get ", 4) == 0) size = answer_get(p, in, n);
        else if (memcmp(in, "set ", 4) == 0) size = answer_set(p, in, n);
    }
    if (size < 0) return NULL;
    if (size > 0) return send_reply(self, size);
    PyObject *data = PyBytes_FromStringAndSize(in, n);
    PyObject *result = data == NULL ? NULL : PyObject_CallMethodOneArg(self->conn, name_on_data, data);
    Py_XDECREF(data);
    return result;
}

/* -- types ------------------------------------------------------------------------------ */

static PyObject *pump_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *store, *never;
    PyTypeObject *item, *conn, *session, *t = &PyType_Type;
    static char *names[] = {"store", "never", "item", "connection", "session", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO!O!O!", names, &store, &never, t, &item, t, &conn, t, &session))
        return NULL;
    pump *p = (pump *)type->tp_alloc(type, 0);
    if (p == NULL) return NULL;
    p->store = Py_NewRef(store);
    p->never = Py_NewRef(never);
    p->item = (PyTypeObject *)Py_NewRef(item);
    p->conn = (PyTypeObject *)Py_NewRef(conn);
    p->session = (PyTypeObject *)Py_NewRef(session);
    if (find_slots(Py_TYPE(store), STORE_NAMES, p->of_store, STORE_SLOTS) < 0) goto fail;
    p->stats = Py_XNewRef(look(store, p->of_store[STATS]));
    if (p->stats == NULL || find_slots(Py_TYPE(p->stats), STATS_NAMES, p->of_stats, STATS_SLOTS) < 0 ||
        find_slots(item, ITEM_NAMES, p->of_item, ITEM_SLOTS) < 0 ||
        find_slots(conn, CONN_NAMES, p->of_conn, CONN_SLOTS) < 0 ||
        find_slots(session, SESSION_NAMES, p->of_session, SESSION_SLOTS) < 0)
        goto fail;
    return (PyObject *)p;
fail:
    Py_DECREF(p);
    return NULL;
}

static void pump_dealloc(pump *p) {
    Py_XDECREF(p->store);
    Py_XDECREF(p->stats);
    Py_XDECREF(p->never);
    Py_XDECREF(p->item);
    Py_XDECREF(p->conn);
    Py_XDECREF(p->session);
    Py_TYPE(p)->tp_free(p);
}

static PyTypeObject PumpType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "cachefleet.engine.memserver._quick.Pump",
    .tp_basicsize = sizeof(pump),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Where the attributes of one server's objects are.",
    .tp_new = pump_new,
    .tp_dealloc = (destructor)pump_dealloc,
};

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *p, *conn;
    int fd;
    static char *names[] = {"pump", "connection", "fd", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!Oi", names, &PumpType, &p, &conn, &fd)) return NULL;
    if (!Py_IS_TYPE(conn, ((pump *)p)->conn)) {
        PyErr_SetString(PyExc_TypeError, "not the connection that the pump knows");
        return NULL;
    }
    channel *self = (channel *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->pump = (pump *)Py_NewRef(p);
    self->conn = Py_NewRef(conn);
    self->fd = fd;
    return (PyObject *)self;
}

static void channel_dealloc(channel *self) {
    Py_XDECREF(self->pump);
    Py_XDECREF(self->conn);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef channel_methods[] = {
    {"on_ready", (PyCFunction)on_ready, METH_O, "Receive and answer; what is not plain goes to Connection.on_data."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject ChannelType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "cachefleet.engine.memserver._quick.Channel",
    .tp_basicsize = sizeof(channel),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "The short way of one connection.",
    .tp_new = channel_new,
    .tp_dealloc = (destructor)channel_dealloc,
    .tp_methods = channel_methods,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_quick", "Plain get and set, socket to socket.", -1};

PyMODINIT_FUNC PyInit__quick(void) {
    name_on_ready = PyUnicode_InternFromString("on_ready");
    name_on_data = PyUnicode_InternFromString("on_data");
    name_keep = PyUnicode_InternFromString("keep");
    name_close = PyUnicode_InternFromString("close");
    if (!name_on_ready || !name_on_data || !name_keep || !name_close) return NULL;
    if (PyType_Ready(&PumpType) < 0 || PyType_Ready(&ChannelType) < 0) return NULL;
    PyObject *self = PyModule_Create(&module);
    if (self == NULL) return NULL;
    if (PyModule_AddObjectRef(self, "Pump", (PyObject *)&PumpType) < 0 ||
        PyModule_AddObjectRef(self, "Channel", (PyObject *)&ChannelType) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}
