/* Outputs as Python sees them: a ports.Outgoing, or one object that stands for it.
 *
 * An output has eleven headers, so as a tuple it is a dozen objects, most of them walked by the
 * collector, and read one by one when they are handed to librdkafka: 1.5 us. Nobody but the sender
 * looks at those of a live worker. So they lie in one piece, and become the tuple for whoever asks. */
#include "packed.h"

#define FIELDS 5      /* ports.Outgoing: topic, key, value, headers, partition */
#define OWN_HEADERS 4 /* ce_id, ce_subject, ce_time, cause-offset */

typedef struct {
    PyObject_VAR_HEAD /* ob_size: bytes of `text` */
    PyTypeObject *outgoing;
    PyObject *topic, *key, *constant, *cause, *headers;
    unsigned event_id, time, offset; /* so many bytes of each; the value is the rest */
    char text[];
} Packed;

static PyTypeObject *packed_type;
static PyObject *names[HEADER_NAMES];

const Span HEADER_NAME[HEADER_NAMES] = {
    TEXT_OF("ce_id"),       TEXT_OF("ce_subject"),      TEXT_OF("ce_time"),
    TEXT_OF("cause-topic"), TEXT_OF("cause-partition"), TEXT_OF("cause-offset"),
};

PyObject *header(int name, PyObject *value) {
    if (value == NULL) return NULL;
    PyObject *pair = PyTuple_New(2);
    if (pair == NULL) {
        Py_DECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, Py_NewRef(names[name]));
    PyTuple_SET_ITEM(pair, 1, value);
    return pair;
}

static PyObject *bytes_of(Span span) {
    return PyBytes_FromStringAndSize(span.at, (Py_ssize_t)span.len);
}

static bool is_trace(PyObject *pair) {
    PyObject *name = PyTuple_GET_ITEM(pair, 0);
    return !PyUnicode_CompareWithASCIIString(name, "traceparent") ||
           !PyUnicode_CompareWithASCIIString(name, "tracestate");
}

static PyObject *headers_of(const Parts *parts) {
    Py_ssize_t shared = PyTuple_GET_SIZE(parts->constant), at = 0;
    Py_ssize_t caused = PyTuple_GET_SIZE(parts->cause);
    PyObject *list = PyList_New(shared + caused + OWN_HEADERS);
    if (list == NULL) return NULL;
    for (; at < shared; at++)
        PyList_SET_ITEM(list, at, Py_NewRef(PyTuple_GET_ITEM(parts->constant, at)));
    PyList_SET_ITEM(list, at++, header(CE_ID, bytes_of(parts->event_id)));
    PyList_SET_ITEM(list, at++, header(CE_SUBJECT, Py_NewRef(parts->key)));
    PyList_SET_ITEM(list, at++, header(CE_TIME, bytes_of(parts->time)));
    for (Py_ssize_t i = 0; i < caused; i++)
        PyList_SET_ITEM(list, at++, Py_NewRef(PyTuple_GET_ITEM(parts->cause, i)));
    PyList_SET_ITEM(list, at++, header(CAUSE_OFFSET, bytes_of(parts->offset)));
    int done = PyErr_Occurred() ? -1 : 0;
    for (Py_ssize_t i = 0; done == 0 && parts->headers && i < PyList_GET_SIZE(parts->headers); i++) {
        PyObject *pair = PyList_GET_ITEM(parts->headers, i);
        if (is_trace(pair)) done = PyList_Append(list, pair);
    }
    if (done < 0) Py_CLEAR(list);
    return list;
}

PyObject *outgoing_of(const Parts *parts) {
    PyObject *headers = headers_of(parts);
    PyObject *value = headers == NULL ? NULL : bytes_of(parts->value);
    PyObject *made = value == NULL ? NULL : parts->outgoing->tp_alloc(parts->outgoing, FIELDS);
    if (made == NULL) {
        Py_XDECREF(headers);
        Py_XDECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(made, 0, Py_NewRef(parts->topic));
    PyTuple_SET_ITEM(made, 1, Py_NewRef(parts->key));
    PyTuple_SET_ITEM(made, 2, value);
    PyTuple_SET_ITEM(made, 3, headers);
    PyTuple_SET_ITEM(made, 4, Py_NewRef(Py_None));
    return made;
}

/* The headers that are passed on, in a list; *to stays NULL where there are none. */
static int traces_of(PyObject *headers, PyObject **to) {
    for (Py_ssize_t i = 0; headers != NULL && i < PyList_GET_SIZE(headers); i++) {
        PyObject *pair = PyList_GET_ITEM(headers, i);
        if (!is_trace(pair)) continue;
        if (*to == NULL && (*to = PyList_New(0)) == NULL) return -1;
        if (PyList_Append(*to, pair) < 0) return -1;
    }
    return 0;
}

PyObject *packed_of(const Parts *parts) {
    const Span spans[] = {parts->event_id, parts->time, parts->offset, parts->value};
    size_t len = 0;
    for (size_t i = 0; i < 4; i++) len += spans[i].len;
    Packed *made = PyObject_NewVar(Packed, packed_type, (Py_ssize_t)len);
    if (made == NULL) return NULL;
    made->outgoing = (PyTypeObject *)Py_NewRef((PyObject *)parts->outgoing);
    made->topic = Py_NewRef(parts->topic);
    made->key = Py_NewRef(parts->key);
    made->constant = Py_NewRef(parts->constant);
    made->cause = Py_NewRef(parts->cause);
    made->headers = NULL;
    made->event_id = (unsigned)parts->event_id.len;
    made->time = (unsigned)parts->time.len;
    made->offset = (unsigned)parts->offset.len;
    char *to = made->text;
    for (size_t i = 0; i < 4; i++) {
        memcpy(to, spans[i].at, spans[i].len);
        to += spans[i].len;
    }
    if (traces_of(parts->headers, &made->headers) < 0) Py_CLEAR(made);
    return (PyObject *)made;
}

static Parts parts_of(const Packed *self) {
    const char *at = self->text;
    size_t before = (size_t)self->event_id + self->time + self->offset;
    return (Parts){
        .outgoing = self->outgoing, .topic = self->topic, .key = self->key,
        .constant = self->constant, .cause = self->cause, .headers = self->headers,
        .event_id = {at, self->event_id}, .time = {at + self->event_id, self->time},
        .offset = {at + self->event_id + self->time, self->offset},
        .value = {at + before, (size_t)Py_SIZE(self) - before},
    };
}

bool is_packed(PyObject *object, Parts *parts) {
    if (Py_TYPE(object) != packed_type) return false;
    *parts = parts_of((Packed *)object);
    return true;
}

/* -- as a tuple ------------------------------------------------------------------------------- */

static PyObject *opened(PyObject *self) {
    Parts parts = parts_of((Packed *)self);
    return outgoing_of(&parts);
}

static void packed_dealloc(Packed *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF((PyObject *)self->outgoing);
    Py_DECREF(self->topic);
    Py_DECREF(self->key);
    Py_DECREF(self->constant);
    Py_DECREF(self->cause);
    Py_XDECREF(self->headers);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *packed_iter(PyObject *self) {
    PyObject *tuple = opened(self), *iter = tuple == NULL ? NULL : PyObject_GetIter(tuple);
    Py_XDECREF(tuple);
    return iter;
}

static PyObject *packed_getattr(PyObject *self, PyObject *name) {
    PyObject *tuple = opened(self), *found = tuple == NULL ? NULL : PyObject_GetAttr(tuple, name);
    Py_XDECREF(tuple);
    return found;
}

static PyObject *packed_item(PyObject *self, PyObject *at) {
    PyObject *tuple = opened(self), *found = tuple == NULL ? NULL : PyObject_GetItem(tuple, at);
    Py_XDECREF(tuple);
    return found;
}

static Py_ssize_t packed_length(PyObject *Py_UNUSED(self)) { return FIELDS; }

static PyObject *packed_compare(PyObject *self, PyObject *other, int how) {
    PyObject *tuple = opened(self);
    PyObject *found = tuple == NULL ? NULL : PyObject_RichCompare(tuple, other, how);
    Py_XDECREF(tuple);
    return found;
}

static PyObject *packed_repr(PyObject *self) {
    PyObject *tuple = opened(self), *text = tuple == NULL ? NULL : PyObject_Repr(tuple);
    Py_XDECREF(tuple);
    return text;
}

static PyType_Slot packed_slots[] = {
    {Py_tp_dealloc, (void *)packed_dealloc},
    {Py_tp_iter, (void *)packed_iter},
    {Py_tp_getattro, (void *)packed_getattr},
    {Py_tp_richcompare, (void *)packed_compare},
    {Py_tp_hash, (void *)PyObject_HashNotImplemented},
    {Py_tp_repr, (void *)packed_repr},
    {Py_sq_length, (void *)packed_length},
    {Py_mp_length, (void *)packed_length},
    {Py_mp_subscript, (void *)packed_item},
    {Py_tp_doc, "An output in one piece, made by Plan.fold: read as the ports.Outgoing it is."},
    {0, NULL},
};

static PyType_Spec packed_spec = {
    .name = "streams.native._native.Packed",
    .basicsize = sizeof(Packed),
    .itemsize = 1,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = packed_slots,
};

int packed_init(PyObject *module) {
    for (int i = 0; i < HEADER_NAMES; i++)
        if ((names[i] = PyUnicode_InternFromString(HEADER_NAME[i].at)) == NULL) return -1;
    packed_type = (PyTypeObject *)PyType_FromSpec(&packed_spec); /* kept as long as the process */
    return packed_type == NULL ? -1
                               : PyModule_AddObjectRef(module, "Packed", (PyObject *)packed_type);
}
