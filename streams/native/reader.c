/* Reads one partition from librdkafka without calls of Python's for each record.
 *
 * A message of confluent_kafka's is an object that is asked for its key, value, offset and time, one
 * call each: 1.5 us a record with the Record made of it, where this takes a third. What a restore
 * reads is all that it waits for.
 *
 * The queue of the partition is taken out of the consumer's own, before the partition is assigned:
 * so whatever else the consumer has to say (errors, logs) stays where `Consumer.poll` serves it, and
 * nothing here ever runs a callback. Which library and which handle: as in sender.c. */
#include "reader.h"

#include <dlfcn.h>
#include <stdbool.h>

#include "gathered.h"

/* What librdkafka's public header says. */
typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct {
    int err;
    void *topic;
    int32_t partition;
    void *payload;
    size_t len;
    void *key;
    size_t key_len;
    int64_t offset;
    void *private;
} rd_kafka_message_t;

typedef struct {
    void *(*opaque)(const rd_kafka_t *);
    rd_kafka_queue_t *(*queue_of)(rd_kafka_t *, const char *, int32_t);
    void (*forward)(rd_kafka_queue_t *, rd_kafka_queue_t *);
    void (*queue_destroy)(rd_kafka_queue_t *);
    ssize_t (*consume)(rd_kafka_queue_t *, int, rd_kafka_message_t **, size_t);
    int64_t (*timestamp)(const rd_kafka_message_t *, int *);
    void (*message_destroy)(rd_kafka_message_t *);
} Library;

#define RECORD_FIELDS 7 /* ports.Record: topic, partition, offset, key, value, headers, time */
#define MOST 8192       /* records of one read */
#define AT_ONCE 256     /* of one gather: the processor's cache has them still */
#define MOST_BYTES ((size_t)4 << 20) /* of rows of one gather, as far as they are alike in size */

typedef struct {
    PyObject_HEAD
    Library library;
    PyObject *consumer; /* a confluent_kafka.Consumer, and where it keeps its handle; */
    PyTypeObject *record;
    PyObject *topic, *partition; /* as records name them */
    rd_kafka_queue_t *queue;     /* NULL: closed */
    rd_kafka_message_t *message[MOST];
} ReaderObject;

/* ISO C knows no cast from an object pointer to a function. */
#define BIND(to, library, name) \
    do { \
        void *found = dlsym(library, name); \
        if (found == NULL) PyErr_Format(PyExc_OSError, "librdkafka without %s", name); \
        memcpy(&(to), &found, sizeof found); \
    } while (0)

static void bind(Library *to, void *library) {
    BIND(to->opaque, library, "rd_kafka_opaque");
    BIND(to->queue_of, library, "rd_kafka_queue_get_partition");
    BIND(to->forward, library, "rd_kafka_queue_forward");
    BIND(to->queue_destroy, library, "rd_kafka_queue_destroy");
    BIND(to->consume, library, "rd_kafka_consume_batch_queue");
    BIND(to->timestamp, library, "rd_kafka_message_timestamp");
    BIND(to->message_destroy, library, "rd_kafka_message_destroy");
}

/* The handle of a Consumer that is open and laid out as we know it, else NULL. */
static rd_kafka_t *handle_of(const ReaderObject *self) {
    rd_kafka_t *handle;
    memcpy(&handle, (const char *)self->consumer + sizeof(PyObject), sizeof handle);
    return handle != NULL && self->library.opaque(handle) == self->consumer ? handle : NULL;
}

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"consumer", "path", "name", "p", "topic", "record", NULL};
    PyObject *consumer, *topic, *record;
    const char *path, *name;
    int p;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OssiUO!", names, &consumer, &path, &name, &p,
                                     &topic, &PyType_Type, &record))
        return NULL;
    if (Py_TYPE(consumer)->tp_basicsize < (Py_ssize_t)(sizeof(PyObject) + sizeof(void *)) ||
        !PyType_IsSubtype((PyTypeObject *)record, &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "not a consumer, or not a record");
        return NULL;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD); /* with what it was linked to */
    if (library == NULL) {
        PyErr_Format(PyExc_OSError, "%s is not loaded", path);
        return NULL;
    }
    ReaderObject *self = (ReaderObject *)type->tp_alloc(type, 0); /* zeroed */
    if (self == NULL) return NULL;
    self->consumer = Py_NewRef(consumer);
    self->record = (PyTypeObject *)Py_NewRef(record);
    self->topic = Py_NewRef(topic);
    self->partition = PyLong_FromLong(p);
    bind(&self->library, library);
    rd_kafka_t *handle = PyErr_Occurred() ? NULL : handle_of(self);
    if (handle != NULL && (self->queue = self->library.queue_of(handle, name, p)) != NULL)
        self->library.forward(self->queue, NULL);
    else if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "a consumer of another layout");
    if (PyErr_Occurred()) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void let_go(ReaderObject *self) {
    if (self->queue != NULL) self->library.queue_destroy(self->queue);
    self->queue = NULL;
}

static void reader_dealloc(ReaderObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    let_go(self); /* before the consumer is closed, as librdkafka asks */
    Py_XDECREF(self->consumer);
    Py_XDECREF(self->record);
    Py_XDECREF(self->topic);
    Py_XDECREF(self->partition);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *bytes_or_none(const void *at, size_t len) {
    return at == NULL ? Py_NewRef(Py_None) : PyBytes_FromStringAndSize(at, (Py_ssize_t)len);
}

static PyObject *record_of(const ReaderObject *self, const rd_kafka_message_t *message) {
    PyObject *made = self->record->tp_alloc(self->record, RECORD_FIELDS);
    if (made == NULL) return NULL;
    PyTuple_SET_ITEM(made, 0, Py_NewRef(self->topic));
    PyTuple_SET_ITEM(made, 1, Py_NewRef(self->partition));
    PyTuple_SET_ITEM(made, 2, PyLong_FromLongLong(message->offset));
    PyTuple_SET_ITEM(made, 3, bytes_or_none(message->key, message->key_len));
    PyTuple_SET_ITEM(made, 4, bytes_or_none(message->payload, message->len));
    PyTuple_SET_ITEM(made, 5, PyList_New(0));
    PyTuple_SET_ITEM(made, 6, PyLong_FromLongLong(self->library.timestamp(message, NULL)));
    if (PyErr_Occurred()) Py_CLEAR(made);
    return made;
}

/* What is here, else the first that comes within the time and what is here with it. No lock. */
static size_t come(ReaderObject *self, int timeout_ms, rd_kafka_message_t **to, size_t most) {
    const Library *library = &self->library;
    ssize_t here = library->consume(self->queue, 0, to, most);
    if (here <= 0 && timeout_ms > 0) {
        here = library->consume(self->queue, timeout_ms, to, 1);
        if (here == 1 && most > 1) {
            ssize_t more = library->consume(self->queue, 0, to + 1, most - 1);
            if (more > 0) here += more;
        }
    }
    return here < 0 ? 0 : (size_t)here;
}

PyDoc_STRVAR(read_doc,
"read(most, timeout_ms) -> ([Record], [(code, offset)])\n\n"
"Return what has come, and the errors and ends of the partition among it; wait only where nothing\n"
"has. Records have no headers.");

static PyObject *reader_read(ReaderObject *self, PyObject *args) {
    Py_ssize_t most;
    int timeout_ms;
    size_t count = 0, at = 0;
    if (!PyArg_ParseTuple(args, "ni", &most, &timeout_ms)) return NULL;
    PyObject *records = PyList_New(0), *errors = PyList_New(0), *both = NULL;
    if (most > MOST) most = MOST;
    if (most > 0 && self->queue != NULL && handle_of(self) != NULL && errors && records) {
        Py_BEGIN_ALLOW_THREADS
        count = come(self, timeout_ms, self->message, (size_t)most);
        Py_END_ALLOW_THREADS
    }
    for (; at < count && !PyErr_Occurred(); at++) {
        const rd_kafka_message_t *message = self->message[at];
        PyObject *one = message->err ? Py_BuildValue("iL", message->err, (long long)message->offset)
                                     : record_of(self, message);
        if (one != NULL) PyList_Append(message->err ? errors : records, one);
        Py_XDECREF(one);
    }
    Py_BEGIN_ALLOW_THREADS
    for (at = 0; at < count; at++) self->library.message_destroy(self->message[at]);
    Py_END_ALLOW_THREADS
    if (!PyErr_Occurred()) both = PyTuple_Pack(2, records, errors);
    Py_XDECREF(records);
    Py_XDECREF(errors);
    return both;
}

typedef struct {
    size_t rows;   /* that came, meta rows too */
    int64_t after; /* the offset behind the last, -1: none came */
    size_t left;   /* messages at the front that Python has to see: errors, ends, meta rows */
    bool done;     /* false: out of memory */
} Gather;

/* Rows go to `to`, and what is left moves to the front. No lock. */
static void take_in(ReaderObject *self, Gathered *to, rd_kafka_message_t **come, size_t count,
                    Gather *so_far) {
    for (size_t at = 0; at < count; at++) {
        rd_kafka_message_t *message = come[at];
        Span key = {message->key, message->key_len}, value = {message->payload, message->len};
        bool seen = message->err != 0;
        if (!seen) {
            so_far->rows++;
            so_far->after = message->offset + 1;
            seen = key.at != NULL && gathered_closes(to, key, value);
        }
        if (seen) {
            self->message[so_far->left++] = message;
            continue;
        }
        if (key.at != NULL && so_far->done) so_far->done = gathered_add(to, key, value);
        self->library.message_destroy(message);
    }
}

static Gather gather(ReaderObject *self, Gathered *to, size_t most, int timeout_ms) {
    Gather so_far = {.after = -1, .done = true};
    size_t before = gathered_bytes(to), taken = 0, wanted = 1; /* the first tells how large they are */
    while (so_far.done && wanted > 0) {
        rd_kafka_message_t **at = self->message + so_far.left;
        size_t count = come(self, taken ? 0 : timeout_ms, at, wanted);
        if (count == 0) break;
        take_in(self, to, at, count, &so_far);
        taken += count;
        size_t bytes = gathered_bytes(to) - before;
        wanted = bytes < MOST_BYTES ? (MOST_BYTES - bytes) / (bytes / taken + 1) + 1 : 0;
        if (wanted > AT_ONCE) wanted = AT_ONCE;
        if (wanted > most - taken) wanted = most - taken;
    }
    return so_far;
}

PyDoc_STRVAR(gather_doc,
"gather(gathered, most, timeout_ms) -> (count, after, [(offset, value)], [(code, offset)])\n\n"
"As `read`, but rows go to a Gathered. Return how many records came and the offset behind the last\n"
"(-1: none came), the meta rows among them, errors and ends.");

static PyObject *reader_gather(ReaderObject *self, PyObject *args) {
    PyObject *gathered, *metas, *errors, *all = NULL;
    Py_ssize_t most;
    int timeout_ms;
    Gather found = {.after = -1, .done = true};
    if (!PyArg_ParseTuple(args, "Oni", &gathered, &most, &timeout_ms)) return NULL;
    Gathered *to = gathered_enter(gathered);
    if (to == NULL) return NULL;
    metas = PyList_New(0);
    errors = PyList_New(0);
    if (most > MOST) most = MOST;
    if (most > 0 && self->queue != NULL && handle_of(self) != NULL && errors && metas) {
        Py_BEGIN_ALLOW_THREADS
        found = gather(self, to, (size_t)most, timeout_ms);
        Py_END_ALLOW_THREADS
    }
    gathered_leave(to);
    if (!found.done) PyErr_NoMemory();
    for (size_t at = 0; at < found.left; at++) {
        const rd_kafka_message_t *message = self->message[at];
        PyObject *one = PyErr_Occurred() ? NULL
                        : message->err
                            ? Py_BuildValue("iL", message->err, (long long)message->offset)
                            : Py_BuildValue("LN", (long long)message->offset,
                                            bytes_or_none(message->payload, message->len));
        if (one != NULL) PyList_Append(message->err ? errors : metas, one);
        Py_XDECREF(one);
        self->library.message_destroy(self->message[at]);
    }
    if (!PyErr_Occurred())
        all = Py_BuildValue("nLOO", (Py_ssize_t)found.rows, (long long)found.after, metas, errors);
    Py_XDECREF(metas);
    Py_XDECREF(errors);
    return all;
}

PyDoc_STRVAR(gathered_doc, "gathered(meta, due, schema) -> Gathered: what `gather` fills.");

static PyObject *reader_gathered(ReaderObject *Py_UNUSED(self), PyObject *args) {
    return gathered_made(args);
}

PyDoc_STRVAR(close_doc, "close()\n\nLet the queue go, before the consumer is closed.");

static PyObject *reader_close(ReaderObject *self, PyObject *Py_UNUSED(none)) {
    let_go(self);
    Py_RETURN_NONE;
}

static PyMethodDef reader_methods[] = {
    {"read", (PyCFunction)reader_read, METH_VARARGS, read_doc},
    {"gathered", (PyCFunction)reader_gathered, METH_VARARGS, gathered_doc},
    {"gather", (PyCFunction)reader_gather, METH_VARARGS, gather_doc},
    {"close", (PyCFunction)reader_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_new, (void *)reader_new},
    {Py_tp_dealloc, (void *)reader_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_doc, "Reader(consumer, path, name, p, topic, record): made before p is assigned.\n\n"
                "`path`: as Sender's; `name`: of the topic on the broker, `topic` in records."},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "streams.native._native.Reader",
    .basicsize = sizeof(ReaderObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = reader_slots,
};

int reader_init(PyObject *module) {
    PyObject *type = PyType_FromSpec(&reader_spec);
    int done = type == NULL ? -1 : PyModule_AddObjectRef(module, "Reader", type);
    Py_XDECREF(type);
    return done;
}
