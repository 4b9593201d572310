/* Makes records of a poll's messages without a call of Python's for each field.
 *
 * A message of confluent_kafka's is asked for its topic, partition, offset, key, value, headers and
 * time, and each record's place in its partition is noted: 1.1 us in Python, a quarter here. The
 * messages' own methods are called, found once by name, so nothing is assumed of how they are laid
 * out; a wheel whose methods are of another kind is left to Python (feed/kafka_log.py, `take`). */
#include "taker.h"

#include <stdbool.h>

enum { ERROR, TOPIC, PARTITION, OFFSET, KEY, VALUE, HEADERS, TIMESTAMP, METHODS };
static const char *const NAMES[METHODS] = {"error", "topic", "partition", "offset",
                                           "key",   "value", "headers",   "timestamp"};

#define RECORD_FIELDS 7 /* ports.Record: topic, partition, offset, key, value, headers, time */

typedef struct {
    PyObject_HEAD
    PyTypeObject *message, *record;
    PyCFunction method[METHODS];
} TakerObject;

static PyObject *taker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"message", "record", NULL};
    PyTypeObject *message, *record;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!", names, &PyType_Type, &message,
                                     &PyType_Type, &record))
        return NULL;
    TakerObject *self = (TakerObject *)type->tp_alloc(type, 0); /* zeroed */
    if (self == NULL) return NULL;
    self->message = (PyTypeObject *)Py_NewRef(message);
    self->record = (PyTypeObject *)Py_NewRef(record);
    bool known = PyType_IsSubtype(record, &PyTuple_Type);
    for (int i = 0; known && i < METHODS; i++) {
        PyObject *found = PyObject_GetAttrString((PyObject *)message, NAMES[i]);
        known = found != NULL && Py_IS_TYPE(found, &PyMethodDescr_Type) &&
                ((PyMethodDescrObject *)found)->d_method->ml_flags == METH_NOARGS;
        if (known) self->method[i] = ((PyMethodDescrObject *)found)->d_method->ml_meth;
        Py_XDECREF(found); /* the type keeps it */
    }
    if (!known) {
        PyErr_SetString(PyExc_TypeError, "messages of another kind");
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void taker_dealloc(TakerObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->message);
    Py_XDECREF(self->record);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *ask(const TakerObject *self, PyObject *message, int what) {
    return self->method[what](message, NULL);
}

/* Messages that follow each other are mostly of one partition: what is known of it meanwhile. */
typedef struct {
    PyObject *topic, *partition; /* as the messages name them; NULL: none yet */
    PyObject *at;                /* (topic, partition) as records name them */
    long long next;              /* behind the last record */
    bool taken, astray;
} Run;

static bool is_of(const Run *run, PyObject *topic, PyObject *partition) {
    if (run->topic == NULL) return false;
    int same = run->partition == partition
                   ? 1
                   : PyObject_RichCompareBool(run->partition, partition, Py_EQ);
    return same == 1 && PyUnicode_Check(topic) && PyUnicode_Compare(run->topic, topic) == 0;
}

/* False: an exception is set. */
static bool end(Run *run, PyObject *place, PyObject *last, PyObject *astray) {
    bool done = !PyErr_Occurred();
    if (done && run->astray) done = !PySet_Add(astray, run->at);
    if (done && run->taken) {
        PyObject *next = PyLong_FromLongLong(run->next), *newest = PyLong_FromLongLong(run->next - 1);
        done = next && newest && !PyDict_SetItem(place, run->at, next) &&
               !PyDict_SetItem(last, run->at, newest);
        Py_XDECREF(next);
        Py_XDECREF(newest);
    }
    Py_CLEAR(run->topic);
    Py_CLEAR(run->partition);
    Py_CLEAR(run->at);
    return done;
}

/* Steals topic and partition. False: an exception is set. */
static bool begin(Run *run, PyObject *topic, PyObject *partition, PyObject *names,
                  PyObject *place) {
    *run = (Run){.topic = topic, .partition = partition};
    PyObject *name = PyDict_GetItemWithError(names, topic);
    if (name == NULL) {
        if (!PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, topic);
        return false;
    }
    if ((run->at = PyTuple_Pack(2, name, partition)) == NULL) return false;
    PyObject *next = PyDict_GetItemWithError(place, run->at);
    run->next = next == NULL ? 0 : PyLong_AsLongLong(next);
    return !PyErr_Occurred();
}

static PyObject *headers_of(const TakerObject *self, PyObject *message) {
    PyObject *found = ask(self, message, HEADERS);
    if (found != Py_None) return found;
    Py_DECREF(found);
    return PyList_New(0);
}

static PyObject *time_of(const TakerObject *self, PyObject *message) {
    PyObject *both = ask(self, message, TIMESTAMP), *time = NULL; /* (kind, ms) */
    if (both != NULL && PyTuple_Check(both) && PyTuple_GET_SIZE(both) == 2)
        time = Py_NewRef(PyTuple_GET_ITEM(both, 1));
    else if (both != NULL)
        PyErr_SetString(PyExc_TypeError, "a timestamp of another kind");
    Py_XDECREF(both);
    return time;
}

/* Steals offset. */
static PyObject *record_of(const TakerObject *self, PyObject *message, const Run *run,
                           PyObject *offset) {
    PyObject *made = self->record->tp_alloc(self->record, RECORD_FIELDS);
    if (made == NULL) {
        Py_DECREF(offset);
        return NULL;
    }
    PyTuple_SET_ITEM(made, 0, Py_NewRef(PyTuple_GET_ITEM(run->at, 0)));
    PyTuple_SET_ITEM(made, 1, Py_NewRef(PyTuple_GET_ITEM(run->at, 1)));
    PyTuple_SET_ITEM(made, 2, offset);
    PyTuple_SET_ITEM(made, 3, ask(self, message, KEY));
    PyTuple_SET_ITEM(made, 4, ask(self, message, VALUE));
    PyTuple_SET_ITEM(made, 5, headers_of(self, message));
    PyTuple_SET_ITEM(made, 6, time_of(self, message));
    if (PyErr_Occurred()) Py_CLEAR(made);
    return made;
}

/* One message of the run. False: an exception is set. */
static bool take(const TakerObject *self, PyObject *message, Run *run, PyObject *records) {
    PyObject *offset = ask(self, message, OFFSET);
    long long at = offset == NULL ? -1 : PyLong_AsLongLong(offset);
    if (offset == NULL || (at == -1 && PyErr_Occurred())) {
        Py_XDECREF(offset);
        return false;
    }
    if (at < run->next) {
        Py_DECREF(offset);
        run->astray = true;
        return true;
    }
    PyObject *record = record_of(self, message, run, offset);
    bool done = record != NULL && !PyList_Append(records, record);
    Py_XDECREF(record);
    run->next = at + 1;
    run->taken = true;
    return done;
}

PyDoc_STRVAR(take_doc,
"take(messages, names, place, last) -> ([Record], [message], {(topic, partition)})\n\n"
"Return the records of messages, the messages that are errors or ends, and the partitions that\n"
"gave what lies before their place. `names`: topics here by what they are called on the broker.\n"
"`place`: behind the last record of (topic, partition); it and `last`, offsets, are brought along.");

static PyObject *taker_take(TakerObject *self, PyObject *args) {
    PyObject *messages, *names, *place, *last, *all = NULL;
    if (!PyArg_ParseTuple(args, "O!O!O!O!", &PyList_Type, &messages, &PyDict_Type, &names,
                          &PyDict_Type, &place, &PyDict_Type, &last))
        return NULL;
    PyObject *records = PyList_New(0), *odd = PyList_New(0), *astray = PySet_New(NULL);
    bool going = records && odd && astray;
    Run run = {0};
    for (Py_ssize_t i = 0; going && i < PyList_GET_SIZE(messages); i++) {
        PyObject *message = PyList_GET_ITEM(messages, i);
        if (!Py_IS_TYPE(message, self->message)) {
            PyErr_SetString(PyExc_TypeError, "no message");
            break;
        }
        PyObject *error = ask(self, message, ERROR);
        if (error != Py_None) {
            going = error != NULL && !PyList_Append(odd, message);
            Py_XDECREF(error);
            continue;
        }
        Py_DECREF(error);
        PyObject *topic = ask(self, message, TOPIC), *partition = ask(self, message, PARTITION);
        going = topic && partition;
        if (going && is_of(&run, topic, partition)) {
            Py_DECREF(topic);
            Py_DECREF(partition);
        } else if (going) {
            going = end(&run, place, last, astray);
            going = begin(&run, topic, partition, names, place) && going;
        } else {
            Py_XDECREF(topic);
            Py_XDECREF(partition);
        }
        going = going && take(self, message, &run, records);
    }
    if (end(&run, place, last, astray)) all = PyTuple_Pack(3, records, odd, astray);
    Py_XDECREF(records);
    Py_XDECREF(odd);
    Py_XDECREF(astray);
    return all;
}

static PyMethodDef taker_methods[] = {
    {"take", (PyCFunction)taker_take, METH_VARARGS, take_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot taker_slots[] = {
    {Py_tp_new, (void *)taker_new},
    {Py_tp_dealloc, (void *)taker_dealloc},
    {Py_tp_methods, taker_methods},
    {Py_tp_doc, "Taker(message, record): of which types the messages and the records are."},
    {0, NULL},
};

static PyType_Spec taker_spec = {
    .name = "streams.native._native.Taker",
    .basicsize = sizeof(TakerObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = taker_slots,
};

int taker_init(PyObject *module) {
    PyObject *type = PyType_FromSpec(&taker_spec);
    int done = type == NULL ? -1 : PyModule_AddObjectRef(module, "Taker", type);
    Py_XDECREF(type);
    return done;
}
