/* What a restore holds of its changelog, without an object of Python's for each row.
 *
 * Rows are copied one behind the other into blocks, as they come and without the interpreter's lock.
 * When they are to be written they are sorted, the newest of each key stays, and hints are made of
 * them, still without the lock; then they are handed out in the order in which a sorted file wants
 * them. store/gathering.py does the same in Python; tests hold the two equal. */
#include "gathered.h"

#include <stdlib.h>

#define BLOCK_BYTES ((size_t)1 << 20)
#define GONE UINT32_MAX /* a value's length: the row is deleted */
#define HELD_BESIDE 96  /* bytes of a row besides its own: its header, its places in three lists */
#define LEN_MAX ((size_t)1 << 30)

typedef struct {
    uint32_t key_len, value_len;
    char bytes[]; /* key, then value */
} Row;

typedef struct Block {
    struct Block *next; /* younger */
    size_t used, room;
    char bytes[];
} Block;

/* A row where it stands in the order of keys. Equal keys begin alike: `begin` decides most. */
typedef struct {
    uint64_t begin;
    Row *row;
    size_t at; /* as it came */
} Item;

typedef struct {
    Row **row;
    size_t count, room;
    size_t bytes;
    Block *oldest, *youngest;
} Rows;

struct Gathered {
    PyObject_HEAD
    bool busy; /* somebody works with it, perhaps without the lock */
    PyObject *meta, *due;
    unsigned char schema;
    Rows rows;
    size_t whole; /* so many are of whole transactions, those behind them of one that is open */
};

typedef struct {
    PyObject_HEAD
    Rows rows;
    PyObject *due;
    Item *ours, *hint, *user; /* each in the order of its keys */
    size_t ours_count, hint_count, user_count;
    size_t ours_at, hint_at, user_at; /* handed out */
    PyObject *hint_key;               /* of hint[hint_at], once it is known */
} Ordered;

static PyTypeObject *gathered_type, *ordered_type; /* kept as long as the process */

static Span key_of(const Row *row) { return (Span){row->bytes, row->key_len}; }

/* -- rows in blocks --------------------------------------------------------------------------- */

static void free_oldest(Rows *rows) {
    Block *oldest = rows->oldest;
    rows->oldest = oldest->next;
    free(oldest);
}

static void rows_free(Rows *rows) {
    while (rows->oldest != NULL) free_oldest(rows);
    free(rows->row);
    *rows = (Rows){0};
}

static Row *new_row(Rows *rows, size_t len) {
    Block *block = rows->youngest;
    len = (len + sizeof(Row) + 7) & ~(size_t)7; /* whole words: rows are aligned */
    if (block == NULL || len > block->room - block->used) {
        size_t room = len > BLOCK_BYTES ? len : BLOCK_BYTES;
        if ((block = malloc(sizeof(Block) + room)) == NULL) return NULL;
        *block = (Block){NULL, 0, room};
        *(rows->youngest == NULL ? &rows->oldest : &rows->youngest->next) = block;
        rows->youngest = block;
    }
    block->used += len;
    return (Row *)(void *)(block->bytes + block->used - len);
}

static bool rows_add(Rows *rows, Span key, Span value) {
    if (rows->count == rows->room) {
        size_t room = rows->room ? 2 * rows->room : 1024;
        Row **row = realloc(rows->row, room * sizeof *row);
        if (row == NULL) return false;
        rows->row = row;
        rows->room = room;
    }
    if (key.len > LEN_MAX || value.len > LEN_MAX) return false;
    Row *row = new_row(rows, key.len + value.len);
    if (row == NULL) return false;
    row->key_len = (uint32_t)key.len;
    row->value_len = value.at == NULL ? GONE : (uint32_t)value.len;
    if (key.len) memcpy(row->bytes, key.at, key.len);
    if (value.at != NULL && value.len) memcpy(row->bytes + key.len, value.at, value.len);
    rows->row[rows->count++] = row;
    rows->bytes += key.len + value.len + HELD_BESIDE;
    return true;
}

static Span value_of(const Row *row) {
    if (row->value_len == GONE) return (Span){NULL, 0};
    return (Span){row->bytes + row->key_len, row->value_len};
}

/* Moves the first rows out. The smaller part is copied: mostly a few of a transaction that is open. */
static bool split(Rows *from, size_t count, Rows *to) {
    Rows copy = {0};
    bool behind = from->count - count <= count, done = true;
    size_t begin = behind ? count : 0, end = behind ? from->count : count;
    for (size_t i = begin; done && i < end; i++)
        done = rows_add(&copy, key_of(from->row[i]), value_of(from->row[i]));
    if (!done) {
        rows_free(&copy);
        return false;
    }
    from->bytes -= copy.bytes;
    if (behind) {
        *to = *from;
        *from = copy;
        to->count = count;
    } else {
        *to = copy;
        from->count -= count;
        memmove(from->row, from->row + count, from->count * sizeof *from->row);
    }
    return true;
}

bool gathered_add(Gathered *self, Span key, Span value) { return rows_add(&self->rows, key, value); }

size_t gathered_bytes(const Gathered *self) { return self->rows.bytes; }

bool gathered_closes(Gathered *self, Span key, Span value) {
    Span meta = {PyBytes_AS_STRING(self->meta), (size_t)PyBytes_GET_SIZE(self->meta)};
    if (value.at == NULL || !same(key, meta)) return false;
    self->whole = self->rows.count;
    return true;
}

/* -- the order of keys ------------------------------------------------------------------------ */

/* Eight bytes behind the first `skip`, as a number that is ordered as they are. */
static uint64_t begin_of(Span key, size_t skip) {
    unsigned char text[8] = {0};
    if (key.len > skip) memcpy(text, key.at + skip, key.len - skip < 8 ? key.len - skip : 8);
    uint64_t begin = 0;
    for (int i = 0; i < 8; i++) begin = begin << 8 | text[i];
    return begin;
}

static bool is_ours(Span key) { return key.len == 0 || key.at[0] == 0; }

static int by_key(const void *a, const void *b) {
    const Item *one = a, *other = b;
    if (one->begin != other->begin) return one->begin < other->begin ? -1 : 1;
    int order = compare(key_of(one->row), key_of(other->row));
    if (order != 0) return order;
    return (one->at > other->at) - (one->at < other->at);
}

static void sort(Item *item, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (by_key(&item[i - 1], &item[i]) > 0) {
            qsort(item, count, sizeof *item, by_key);
            return;
        }
}

/* How many bytes all keys begin with, those of ours left out: they sort in front of all others. */
static size_t shared(Row **row, size_t count) {
    Span first = {NULL, 0};
    for (size_t i = 0; i < count; i++) {
        Span key = key_of(row[i]);
        if (is_ours(key)) continue;
        if (first.at == NULL) first = key;
        size_t most = key.len < first.len ? key.len : first.len, same_len = 0;
        while (same_len < most && key.at[same_len] == first.at[same_len]) same_len++;
        first.len = same_len;
    }
    return first.len;
}

/* The newest row of each key, in the order of keys; NULL: out of memory. */
static Item *ordered(Row **row, size_t count, size_t *found) {
    Item *item = malloc((count ? count : 1) * sizeof *item);
    if (item == NULL) return NULL;
    size_t skip = shared(row, count), kept = 0;
    for (size_t i = 0; i < count; i++) {
        Span key = key_of(row[i]);
        item[i] = (Item){is_ours(key) ? 0 : begin_of(key, skip), row[i], i};
    }
    sort(item, count);
    for (size_t i = 0; i < count; i++) {
        bool again = i + 1 < count && item[i].begin == item[i + 1].begin &&
                     same(key_of(item[i].row), key_of(item[i + 1].row));
        if (!again) item[kept++] = item[i];
    }
    *found = kept;
    return item;
}

static int by_coming(const void *a, const void *b) {
    const Item *one = a, *other = b;
    return (one->at > other->at) - (one->at < other->at);
}

/* -- Gathered --------------------------------------------------------------------------------- */

PyObject *gathered_made(PyObject *args) { return PyObject_CallObject((PyObject *)gathered_type, args); }

Gathered *gathered_enter(PyObject *object) {
    Gathered *self = (Gathered *)object;
    if (Py_TYPE(object) != gathered_type) {
        PyErr_SetString(PyExc_TypeError, "not a Gathered");
        return NULL;
    }
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread works with it");
        return NULL;
    }
    self->busy = true;
    return self;
}

void gathered_leave(Gathered *self) { self->busy = false; }

/* Puts the newest rows of one part behind `to`, and lets go of what lies behind them. */
static bool move_newest(Rows *from, const Item *item, size_t count, Rows *to) {
    for (size_t i = 0; i < count; i++) {
        const char *at = (const char *)item[i].row;
        while (at < from->oldest->bytes || at >= from->oldest->bytes + from->oldest->room)
            free_oldest(from);
        if (!rows_add(to, key_of(item[i].row), value_of(item[i].row))) return false;
    }
    return true;
}

static size_t bytes_of_items(const Item *item, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += key_of(item[i].row).len + value_of(item[i].row).len + HELD_BESIDE;
    return bytes;
}

/* 1: more than `most` without what was replaced, 0: less, and that is gone; -1: out of memory. */
static int full(Gathered *self, size_t most) {
    Rows *rows = &self->rows, kept = {0};
    size_t whole = 0, open = 0;
    Item *first = ordered(rows->row, self->whole, &whole);
    Item *second = ordered(rows->row + self->whole, rows->count - self->whole, &open);
    int found = -1;
    if (first == NULL || second == NULL) goto done;
    if (bytes_of_items(first, whole) + bytes_of_items(second, open) > most) {
        found = 1;
        goto done;
    }
    qsort(first, whole, sizeof *first, by_coming); /* as they lie in memory */
    qsort(second, open, sizeof *second, by_coming);
    found = move_newest(rows, first, whole, &kept) && move_newest(rows, second, open, &kept) ? 0 : -1;
    rows_free(rows);
    *rows = kept; /* out of memory: what there is left, to be freed */
    self->whole = whole < kept.count ? whole : kept.count;
done:
    free(first);
    free(second);
    return found;
}

PyDoc_STRVAR(is_full_doc,
"is_full(most) -> bool\n\n"
"Say whether rows of more bytes than `most` are held, without what was replaced: that is let go of.");

static PyObject *gathered_is_full(PyObject *object, PyObject *args) {
    Py_ssize_t most;
    int found;
    if (!PyArg_ParseTuple(args, "n", &most)) return NULL;
    Gathered *self = gathered_enter(object);
    if (self == NULL) return NULL;
    Py_BEGIN_ALLOW_THREADS
    found = full(self, most < 0 ? 0 : (size_t)most);
    Py_END_ALLOW_THREADS
    gathered_leave(self);
    return found < 0 ? PyErr_NoMemory() : PyBool_FromLong(found);
}

/* Milliseconds of a row's next deadline, 0: none. As `wire.rows.due_bytes` and `store.rows`. */
static uint64_t due_of(const Row *row, unsigned char newest_schema) {
    Span value = value_of(row);
    if (value.len == 0 || (row->key_len && row->bytes[0] == 0)) return 0;
    unsigned char schema = (unsigned char)value.at[0];
    if (schema == 1) return 1;
    if (schema < 1 || schema > newest_schema) return 0;
    uint64_t due = 0;
    for (size_t i = 1; i < value.len && i < 9; i++) due = due << 8 | (unsigned char)value.at[i];
    return due;
}

static bool put_in_order(Ordered *to, unsigned char schema) {
    size_t count, ours = 0, hints = 0;
    Item *item = ordered(to->rows.row, to->rows.count, &count);
    if (item == NULL) return false;
    to->user = item; /* freed with the rest */
    while (ours < count && is_ours(key_of(item[ours].row))) ours++;
    to->ours = malloc((ours ? ours : 1) * sizeof *item);
    to->hint = malloc((count ? count : 1) * sizeof *item);
    if (to->ours == NULL || to->hint == NULL) return false;
    memcpy(to->ours, item, ours * sizeof *item);
    for (size_t i = 0; i < count; i++) {
        uint64_t due = due_of(item[i].row, schema);
        if (due) to->hint[hints++] = (Item){due, item[i].row, i};
    }
    sort(to->hint, hints);
    to->ours_count = ours;
    to->hint_count = hints;
    to->user_at = ours;
    to->user_count = count;
    return true;
}

PyDoc_STRVAR(take_doc,
"take(whole) -> Ordered\n\n"
"Hand over the rows of whole transactions, or all there are.");

static PyObject *gathered_take(PyObject *object, PyObject *args) {
    int whole;
    bool done;
    if (!PyArg_ParseTuple(args, "p", &whole)) return NULL;
    Ordered *to = (Ordered *)ordered_type->tp_alloc(ordered_type, 0); /* zeroed */
    Gathered *self = to == NULL ? NULL : gathered_enter(object);
    if (self == NULL) {
        Py_XDECREF(to);
        return NULL;
    }
    to->due = Py_NewRef(self->due);
    Py_BEGIN_ALLOW_THREADS
    done = split(&self->rows, whole ? self->whole : self->rows.count, &to->rows);
    if (done) {
        self->whole = 0;
        done = put_in_order(to, self->schema);
    }
    Py_END_ALLOW_THREADS
    gathered_leave(self);
    if (done) return (PyObject *)to;
    Py_DECREF(to);
    return PyErr_NoMemory();
}

PyDoc_STRVAR(add_doc,
"add(records) -> [(offset, value)]\n\n"
"Copy the rows of records (ports.Record), in their order; return the meta rows among them.");

enum { OFFSET = 2, KEY, VALUE, RECORD_FIELDS = 7 }; /* ports.Record */

static int add_record(Gathered *self, PyObject *record, PyObject *metas) {
    if (!PyTuple_Check(record) || PyTuple_GET_SIZE(record) != RECORD_FIELDS) goto wrong;
    PyObject *key = PyTuple_GET_ITEM(record, KEY), *value = PyTuple_GET_ITEM(record, VALUE);
    if (key == Py_None) return 0;
    if (!PyBytes_Check(key) || (value != Py_None && !PyBytes_Check(value))) goto wrong;
    Span of_key = {PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key)}, of_value = {NULL, 0};
    if (value != Py_None)
        of_value = (Span){PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value)};
    if (gathered_closes(self, of_key, of_value)) {
        PyObject *meta = PyTuple_Pack(2, PyTuple_GET_ITEM(record, OFFSET), value);
        int done = meta == NULL ? -1 : PyList_Append(metas, meta);
        Py_XDECREF(meta);
        return done;
    }
    if (gathered_add(self, of_key, of_value)) return 0;
    PyErr_NoMemory();
    return -1;
wrong:
    PyErr_SetString(PyExc_TypeError, "not a record");
    return -1;
}

static PyObject *gathered_add_records(PyObject *object, PyObject *args) {
    PyObject *records;
    if (!PyArg_ParseTuple(args, "O!", &PyList_Type, &records)) return NULL;
    Gathered *self = gathered_enter(object);
    PyObject *metas = self == NULL ? NULL : PyList_New(0);
    for (Py_ssize_t i = 0; metas != NULL && i < PyList_GET_SIZE(records); i++)
        if (add_record(self, PyList_GET_ITEM(records, i), metas) < 0) Py_CLEAR(metas);
    if (self != NULL) gathered_leave(self);
    return metas;
}

static PyObject *gathered_held_bytes(PyObject *self, void *Py_UNUSED(none)) {
    return PyLong_FromSize_t(((Gathered *)self)->rows.bytes);
}

static PyObject *gathered_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *meta, *due;
    unsigned char schema;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "by position");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "SSb", &meta, &due, &schema)) return NULL;
    Gathered *self = (Gathered *)type->tp_alloc(type, 0); /* zeroed */
    if (self == NULL) return NULL;
    self->meta = Py_NewRef(meta);
    self->due = Py_NewRef(due);
    self->schema = schema;
    return (PyObject *)self;
}

static void gathered_dealloc(Gathered *self) {
    PyTypeObject *type = Py_TYPE(self);
    rows_free(&self->rows);
    Py_XDECREF(self->meta);
    Py_XDECREF(self->due);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* -- Ordered ---------------------------------------------------------------------------------- */

static PyObject *bytes_of(Span span) {
    if (span.at == NULL) return Py_NewRef(Py_None);
    return PyBytes_FromStringAndSize(span.at, (Py_ssize_t)span.len);
}

static PyObject *pair_of(PyObject *key, PyObject *value) {
    PyObject *pair = key == NULL || value == NULL ? NULL : PyTuple_New(2);
    if (pair == NULL) {
        Py_XDECREF(key);
        Py_XDECREF(value);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, key);
    PyTuple_SET_ITEM(pair, 1, value);
    return pair;
}

static PyObject *hint_key_of(const Ordered *self, const Item *hint) {
    size_t before = (size_t)PyBytes_GET_SIZE(self->due);
    Span key = key_of(hint->row);
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(before + 8 + key.len));
    if (made == NULL) return NULL;
    char *to = PyBytes_AS_STRING(made);
    memcpy(to, PyBytes_AS_STRING(self->due), before);
    for (int i = 0; i < 8; i++) to[before + (size_t)i] = (char)(hint->begin >> (56 - 8 * i));
    memcpy(to + before + 8, key.at, key.len);
    return made;
}

/* Rows of ours and hints, merged. A hint wins: the row it leads to is newer than a deletion of it. */
static PyObject *next_of_ours(Ordered *self) {
    bool row = self->ours_at < self->ours_count, hint = self->hint_at < self->hint_count;
    if (hint && self->hint_key == NULL) {
        self->hint_key = hint_key_of(self, &self->hint[self->hint_at]);
        if (self->hint_key == NULL) return NULL;
    }
    if (row && hint) {
        Span key = {PyBytes_AS_STRING(self->hint_key), (size_t)PyBytes_GET_SIZE(self->hint_key)};
        int order = compare(key_of(self->ours[self->ours_at].row), key);
        if (order == 0) self->ours_at++;
        row = order < 0;
    }
    if (row) {
        const Row *next = self->ours[self->ours_at++].row;
        return pair_of(bytes_of(key_of(next)), bytes_of(value_of(next)));
    }
    PyObject *key = self->hint_key;
    self->hint_key = NULL;
    self->hint_at++;
    return pair_of(key, bytes_of(NOTHING));
}

static PyObject *ordered_next(Ordered *self) {
    if (self->ours_at < self->ours_count || self->hint_at < self->hint_count)
        return next_of_ours(self);
    if (self->user_at == self->user_count) return NULL;
    const Row *row = self->user[self->user_at++].row;
    return pair_of(bytes_of(key_of(row)), bytes_of(value_of(row)));
}

PyDoc_STRVAR(in_order_doc,
"in_order(beside) -> Iterator[(key, value)]\n\n"
"Return rows, the hints that lead to them and `beside` ({key: value}, keys of ours, which win), in\n"
"the order of keys, once; value None: it is deleted.");

static PyObject *ordered_in_order(Ordered *self, PyObject *args) {
    PyObject *beside, *key, *value;
    Py_ssize_t at = 0;
    if (!PyArg_ParseTuple(args, "O!", &PyDict_Type, &beside)) return NULL;
    size_t first = self->rows.count, room = self->ours_count + (size_t)PyDict_GET_SIZE(beside);
    Item *ours = NULL;
    Row **row = malloc((room ? room : 1) * sizeof *row);
    if (row == NULL) return PyErr_NoMemory();
    while (PyDict_Next(beside, &at, &key, &value)) {
        if (!PyBytes_Check(key) || !PyBytes_Check(value) || PyBytes_AS_STRING(key)[0] != 0) {
            free(row);
            PyErr_SetString(PyExc_TypeError, "not a record of ours");
            return NULL;
        }
        if (!rows_add(&self->rows,
                      (Span){PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key)},
                      (Span){PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value)}))
            goto failed;
    }
    size_t count = 0, found;
    for (; count < self->ours_count; count++) row[count] = self->ours[count].row;
    for (size_t i = first; i < self->rows.count; i++) row[count++] = self->rows.row[i];
    if ((ours = ordered(row, count, &found)) == NULL) goto failed;
    free(row);
    free(self->ours);
    self->ours = ours;
    self->ours_count = found;
    return Py_NewRef((PyObject *)self);
failed:
    free(row);
    return PyErr_NoMemory();
}

static Py_ssize_t ordered_len(Ordered *self) {
    return (Py_ssize_t)self->user_count; /* those of ours stand among them */
}

static void ordered_dealloc(Ordered *self) {
    PyTypeObject *type = Py_TYPE(self);
    rows_free(&self->rows);
    free(self->ours);
    free(self->hint);
    free(self->user);
    Py_XDECREF(self->due);
    Py_XDECREF(self->hint_key);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* -- types ------------------------------------------------------------------------------------ */

static PyMethodDef gathered_methods[] = {
    {"add", gathered_add_records, METH_VARARGS, add_doc},
    {"is_full", gathered_is_full, METH_VARARGS, is_full_doc},
    {"take", gathered_take, METH_VARARGS, take_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef gathered_fields[] = {
    {"held_bytes", gathered_held_bytes, NULL, "of memory, what was replaced is counted", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot gathered_slots[] = {
    {Py_tp_new, (void *)gathered_new},
    {Py_tp_dealloc, (void *)gathered_dealloc},
    {Py_tp_methods, gathered_methods},
    {Py_tp_getset, gathered_fields},
    {Py_tp_doc, "Gathered(meta, due, schema): rows read and not written, as store.gathering has them.\n\n"
                "`meta`: the key of meta rows; `due`: what hints begin with; `schema`: the newest of rows."},
    {0, NULL},
};

static PyType_Spec gathered_spec = {
    .name = "streams.native._native.Gathered",
    .basicsize = sizeof(Gathered),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = gathered_slots,
};

static PyMethodDef ordered_methods[] = {
    {"in_order", (PyCFunction)ordered_in_order, METH_VARARGS, in_order_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot ordered_slots[] = {
    {Py_tp_dealloc, (void *)ordered_dealloc},
    {Py_tp_iter, (void *)PyObject_SelfIter},
    {Py_tp_iternext, (void *)ordered_next},
    {Py_sq_length, (void *)ordered_len},
    {Py_tp_methods, ordered_methods},
    {Py_tp_doc, "Rows to be written, the newest of each key; made by Gathered.take, read once."},
    {0, NULL},
};

static PyType_Spec ordered_spec = {
    .name = "streams.native._native.Ordered",
    .basicsize = sizeof(Ordered),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = ordered_slots,
};

int gathered_init(PyObject *module) {
    gathered_type = (PyTypeObject *)PyType_FromSpec(&gathered_spec);
    ordered_type = gathered_type == NULL ? NULL : (PyTypeObject *)PyType_FromSpec(&ordered_spec);
    if (ordered_type == NULL) return -1;
    return PyModule_AddObjectRef(module, "Gathered", (PyObject *)gathered_type);
}
