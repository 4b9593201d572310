/* Hands records to librdkafka without a call of Python's for each of them.
 *
 * A record through confluent_kafka.Producer.produce takes 2 to 3 us, all of it under the interpreter
 * lock, which the fold of the next batch waits for. Here spans are collected under the lock, and
 * what copies them into librdkafka's queues goes without it.
 *
 * The library is the one that the wheel has loaded already; only what its public header promises is
 * called. One thing is not promised: where the wheel's Producer keeps its handle. So the handle has
 * to name that very Producer as its opaque pointer, and __init__.py asks for versions that were
 * looked at. Whatever is odd here is left to confluent_kafka, which knows how to complain. */
#include "sender.h"

#include "packed.h"

#include <dlfcn.h>
#include <stdbool.h>

/* What librdkafka's public header says. */
typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_headers_s rd_kafka_headers_t;
enum {
    V_END = 0, V_TOPIC = 1, V_PARTITION = 3, V_VALUE = 4, V_KEY = 5, V_FLAGS = 7, V_HEADERS = 10,
};
#define F_COPY 0x2

typedef struct {
    int (*producev)(rd_kafka_t *, ...);
    rd_kafka_headers_t *(*headers_new)(size_t);
    int (*header_add)(rd_kafka_headers_t *, const char *, ssize_t, const void *, ssize_t);
    void (*headers_destroy)(rd_kafka_headers_t *);
    void *(*opaque)(const rd_kafka_t *);
} Library;

#define RECORD_FIELDS 5 /* ports.Outgoing: topic, key, value, headers, partition */
#define AT_ONCE 2048    /* records collected under the lock: who gives it up waits to get it again */
#define HEADERS_AT_ONCE (16 * AT_ONCE)

#define SHARED 16 /* tuples of headers that are known again within one call: one a type of output */

/* As bytes.h has it, but `at` may be NULL: none. */
typedef Span Mem;

typedef struct {
    Mem name, value;
} Header;

/* A record, and its headers in `header` of the sender. One that is packed has others in between:
 * those that its type shares come first, then its own, then those that it passes on. */
typedef struct {
    const char *topic;
    int partition;
    Mem key, value;
    size_t first_header, headers, first_passed_on, passed_on;
    PyObject *packed; /* or NULL; the list keeps it */
    Mem cause[2];
} Letter;

typedef struct {
    PyObject *tuple;
    size_t first, count;
} SharedHeaders;

typedef struct {
    PyObject_HEAD
    Library library;
    PyObject *producer; /* a confluent_kafka.Producer, and where it keeps its handle: */
    Letter letter[AT_ONCE];
    Header header[HEADERS_AT_ONCE];
    size_t taken; /* headers of these letters */
    SharedHeaders shared[SHARED];
    size_t shares;
} SenderObject;

/* The handle of a Producer that is open and laid out as we know it, else NULL. */
static rd_kafka_t *handle_of(const SenderObject *self) {
    rd_kafka_t *handle;
    memcpy(&handle, (const char *)self->producer + sizeof(PyObject), sizeof handle);
    return handle != NULL && self->library.opaque(handle) == self->producer ? handle : NULL;
}

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (found == NULL) PyErr_Format(PyExc_OSError, "librdkafka without %s", name);
    return found;
}

/* ISO C knows no cast from an object pointer to a function. */
#define BIND(to, library, name) \
    do { \
        void *found = symbol(library, name); \
        memcpy(&(to), &found, sizeof found); \
    } while (0)

static PyObject *sender_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"producer", "path", NULL};
    PyObject *producer;
    const char *path;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Os", names, &producer, &path)) return NULL;
    if (Py_TYPE(producer)->tp_basicsize < (Py_ssize_t)(sizeof(PyObject) + sizeof(void *))) {
        PyErr_SetString(PyExc_TypeError, "not a producer");
        return NULL;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD); /* with what it was linked to */
    if (library == NULL) {
        PyErr_Format(PyExc_OSError, "%s is not loaded", path);
        return NULL;
    }
    SenderObject *self = (SenderObject *)type->tp_alloc(type, 0); /* zeroed */
    if (self == NULL) return NULL;
    self->producer = Py_NewRef(producer);
    BIND(self->library.producev, library, "rd_kafka_producev");
    BIND(self->library.headers_new, library, "rd_kafka_headers_new");
    BIND(self->library.header_add, library, "rd_kafka_header_add");
    BIND(self->library.headers_destroy, library, "rd_kafka_headers_destroy");
    BIND(self->library.opaque, library, "rd_kafka_opaque");
    if (!PyErr_Occurred() && handle_of(self) == NULL)
        PyErr_SetString(PyExc_TypeError, "a producer of another layout");
    if (PyErr_Occurred()) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void sender_dealloc(SenderObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->producer);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* -- under the lock --------------------------------------------------------------------------- */

static bool take_bytes(PyObject *from, Mem *to) {
    *to = (Mem){NULL, 0};
    if (from == Py_None) return true;
    if (!PyBytes_CheckExact(from)) return false;
    *to = (Mem){PyBytes_AS_STRING(from), (size_t)PyBytes_GET_SIZE(from)};
    return true;
}

static bool take_pair(PyObject *pair, Header *header) {
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) return false;
    PyObject *name = PyTuple_GET_ITEM(pair, 0), *value = PyTuple_GET_ITEM(pair, 1);
    if (!PyUnicode_CheckExact(name) || value == Py_None || !take_bytes(value, &header->value))
        return false;
    Py_ssize_t len;
    if ((header->name.at = PyUnicode_AsUTF8AndSize(name, &len)) == NULL) return false;
    header->name.len = (size_t)len;
    return strlen(header->name.at) == header->name.len; /* librdkafka's end at a zero byte */
}

static bool take_headers(SenderObject *self, PyObject *const *pairs, Py_ssize_t count,
                         size_t *first, size_t *taken) {
    if ((size_t)count > HEADERS_AT_ONCE - self->taken) return false;
    *first = self->taken;
    *taken = (size_t)count;
    for (Py_ssize_t i = 0; i < count; i++)
        if (!take_pair(pairs[i], &self->header[self->taken + (size_t)i])) return false;
    self->taken += (size_t)count;
    return true;
}

/* Those of a tuple that many records have, taken once. */
static bool take_shared(SenderObject *self, PyObject *tuple, Letter *letter) {
    for (size_t i = 0; i < self->shares; i++)
        if (self->shared[i].tuple == tuple) {
            letter->first_header = self->shared[i].first;
            letter->headers = self->shared[i].count;
            return true;
        }
    PyObject *const *pairs = ((PyTupleObject *)tuple)->ob_item;
    if (!take_headers(self, pairs, PyTuple_GET_SIZE(tuple), &letter->first_header, &letter->headers))
        return false;
    if (self->shares < SHARED)
        self->shared[self->shares++] =
            (SharedHeaders){tuple, letter->first_header, letter->headers};
    return true;
}

static bool take_packed(SenderObject *self, PyObject *record, const Parts *parts, Letter *letter) {
    letter->packed = record;
    letter->partition = -1;
    letter->value = parts->value;
    for (Py_ssize_t i = 0; i < 2; i++)
        if (!take_bytes(PyTuple_GET_ITEM(PyTuple_GET_ITEM(parts->cause, i), 1), &letter->cause[i]))
            return false;
    if (!take_bytes(parts->key, &letter->key) || !take_shared(self, parts->constant, letter))
        return false;
    return parts->headers == NULL ||
           take_headers(self, ((PyListObject *)parts->headers)->ob_item,
                        PyList_GET_SIZE(parts->headers), &letter->first_passed_on,
                        &letter->passed_on);
}

static bool take_topic(PyObject *topic, PyObject *names, Letter *letter) {
    PyObject *name = PyDict_GetItemWithError(names, topic);
    if (name == NULL || !PyUnicode_CheckExact(name)) return false;
    return (letter->topic = PyUnicode_AsUTF8(name)) != NULL;
}

/* False: not for us, with or without an exception. */
static bool take_letter(SenderObject *self, PyObject *record, PyObject *names, Letter *letter) {
    Parts parts;
    *letter = (Letter){.partition = -1}; /* by the key */
    if (is_packed(record, &parts))
        return take_topic(parts.topic, names, letter) && take_packed(self, record, &parts, letter);
    if (!PyTuple_Check(record) || PyTuple_GET_SIZE(record) != RECORD_FIELDS) return false;
    PyObject *headers = PyTuple_GET_ITEM(record, 3), *partition = PyTuple_GET_ITEM(record, 4);
    if (partition != Py_None) {
        long p = PyLong_CheckExact(partition) ? PyLong_AsLong(partition) : -1;
        if (p < 0 || p > INT32_MAX) return false;
        letter->partition = (int)p;
    }
    return take_topic(PyTuple_GET_ITEM(record, 0), names, letter) &&
           take_bytes(PyTuple_GET_ITEM(record, 1), &letter->key) &&
           take_bytes(PyTuple_GET_ITEM(record, 2), &letter->value) && PyList_CheckExact(headers) &&
           take_headers(self, ((PyListObject *)headers)->ob_item, PyList_GET_SIZE(headers),
                        &letter->first_header, &letter->headers);
}

/* -- without it ------------------------------------------------------------------------------- */

static bool add(const Library *library, rd_kafka_headers_t *headers, Mem name, Mem value) {
    return !library->header_add(headers, name.at, (ssize_t)name.len, value.at, (ssize_t)value.len);
}

static bool add_all(const SenderObject *self, rd_kafka_headers_t *headers, size_t first,
                    size_t count) {
    for (size_t i = first; i < first + count; i++)
        if (!add(&self->library, headers, self->header[i].name, self->header[i].value))
            return false;
    return true;
}

static bool add_own(const SenderObject *self, rd_kafka_headers_t *headers, const Letter *letter) {
    Parts parts;
    if (letter->packed == NULL || !is_packed(letter->packed, &parts)) return true;
    const Mem values[HEADER_NAMES] = {parts.event_id,   letter->key,      parts.time,
                                      letter->cause[0], letter->cause[1], parts.offset};
    for (int i = 0; i < HEADER_NAMES; i++)
        if (!add(&self->library, headers, HEADER_NAME[i], values[i])) return false;
    return true;
}

static bool send(const SenderObject *self, rd_kafka_t *handle, const Letter *letter) {
    const Library *library = &self->library;
    size_t count = letter->headers + letter->passed_on + (letter->packed ? HEADER_NAMES : 0);
    if (count == 0) /* a row */
        return !library->producev(
            handle, V_TOPIC, letter->topic, V_PARTITION, (int)letter->partition, V_FLAGS, F_COPY,
            V_KEY, letter->key.at, letter->key.len, V_VALUE, letter->value.at, letter->value.len,
            V_END);
    rd_kafka_headers_t *headers = library->headers_new(count);
    bool done = headers != NULL && add_all(self, headers, letter->first_header, letter->headers) &&
                add_own(self, headers, letter) &&
                add_all(self, headers, letter->first_passed_on, letter->passed_on);
    if (done)
        done = !library->producev(
            handle, V_TOPIC, letter->topic, V_PARTITION, (int)letter->partition, V_FLAGS, F_COPY,
            V_KEY, letter->key.at, letter->key.len, V_VALUE, letter->value.at, letter->value.len,
            V_HEADERS, headers, V_END);
    if (!done && headers != NULL) library->headers_destroy(headers); /* else they are librdkafka's */
    return done;
}

PyDoc_STRVAR(hand_over_doc,
"hand_over(records, start, names) -> index\n\n"
"Put records (ports.Outgoing) from `start` on into the producer's queue, in their order; `names`\n"
"says what their topics are called on the broker. Return the index of the first that was not\n"
"taken: a full queue, an error, or nothing we know. Nobody may change the list meanwhile.");

static PyObject *sender_hand_over(SenderObject *self, PyObject *args) {
    PyObject *records, *names;
    Py_ssize_t at;
    if (!PyArg_ParseTuple(args, "O!nO!", &PyList_Type, &records, &at, &PyDict_Type, &names))
        return NULL;
    rd_kafka_t *handle = handle_of(self);
    if (at < 0) at = 0;
    bool going = handle != NULL;
    while (going && at < PyList_GET_SIZE(records)) {
        size_t count = 0, sent = 0;
        self->taken = self->shares = 0;
        while (count < AT_ONCE && at + (Py_ssize_t)count < PyList_GET_SIZE(records)) {
            PyObject *record = PyList_GET_ITEM(records, at + (Py_ssize_t)count);
            if (!take_letter(self, record, names, &self->letter[count])) break;
            count++;
        }
        if (PyErr_Occurred()) return NULL;
        Py_BEGIN_ALLOW_THREADS
        while (sent < count && send(self, handle, &self->letter[sent])) sent++;
        Py_END_ALLOW_THREADS
        at += (Py_ssize_t)sent;
        going = count > 0 && sent == count;
    }
    return PyLong_FromSsize_t(at);
}

static PyMethodDef sender_methods[] = {
    {"hand_over", (PyCFunction)sender_hand_over, METH_VARARGS, hand_over_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sender_slots[] = {
    {Py_tp_new, (void *)sender_new},
    {Py_tp_dealloc, (void *)sender_dealloc},
    {Py_tp_methods, sender_methods},
    {Py_tp_doc, "Sender(producer, path): path is that of the wheel's extension module."},
    {0, NULL},
};

static PyType_Spec sender_spec = {
    .name = "streams.native._native.Sender",
    .basicsize = sizeof(SenderObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = sender_slots,
};

int sender_init(PyObject *module) {
    PyObject *type = PyType_FromSpec(&sender_spec);
    int done = type == NULL ? -1 : PyModule_AddObjectRef(module, "Sender", type);
    Py_XDECREF(type);
    return done;
}
