/* streams.native._native: the Python side of fold.c.
 *
 * Holds the lock all along, keeps what it borrows alive, and changes nothing before it is sure. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>

#include "gathered.h"
#include "packed.h"
#include "reader.h"
#include "say.h"
#include "sender.h"
#include "taker.h"

enum { TOPIC, PARTITION, OFFSET, KEY, VALUE, HEADERS, RECORDED, RECORD_FIELDS }; /* ports.Record */

typedef struct {
    PyObject_HEAD
    Plan plan;
    Work work;
    PyObject *given;           /* the arguments: every span of the plan lies in them */
    PyTypeObject *outgoing;    /* ports.Outgoing, a tuple */
    PyObject *topics[TYPES];   /* of each type of output */
    PyObject *constant[TYPES]; /* the headers that all outputs of a type share, a tuple */
    PyObject *cause;           /* headers of the topic and partition that are folded, a tuple */
    PyObject *of_topic, *of_partition; /* these */
} PlanObject;

static Span span_of(PyObject *bytes) {
    return (Span){PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)};
}

/* -- what plan.py gives ----------------------------------------------------------------------- */

static void *zeroed(Py_ssize_t count, size_t size) {
    void *at = calloc(count ? (size_t)count : 1, size);
    if (at == NULL) PyErr_NoMemory();
    return at;
}

static int take_calendar(PyObject *given, Calendar *calendar) {
    PyObject *begins, *shifts;
    long long from_ms, to_ms, first_day;
    if (!PyArg_ParseTuple(given, "LLLO!O!", &from_ms, &to_ms, &first_day, &PyList_Type, &begins,
                          &PyList_Type, &shifts))
        return -1;
    calendar->from_ms = from_ms;
    calendar->to_ms = to_ms;
    calendar->first_day = first_day;
    if ((calendar->begins = zeroed(PyList_GET_SIZE(begins), sizeof *calendar->begins)) == NULL ||
        (calendar->shift = zeroed(PyList_GET_SIZE(shifts), sizeof *calendar->shift)) == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(begins); i++) {
        calendar->begins[i] = PyLong_AsLongLong(PyList_GET_ITEM(begins, i));
        if (PyErr_Occurred()) return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(shifts); i++) {
        long long since_ms, ahead_min;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(shifts, i), "LL", &since_ms, &ahead_min)) return -1;
        calendar->shift[i] = (Shift){since_ms, ahead_min};
    }
    calendar->days = (size_t)PyList_GET_SIZE(begins);
    calendar->shifts = (size_t)PyList_GET_SIZE(shifts);
    return 0;
}

static int take_right(PyObject *given, Right *right) {
    long long step, value_minor, valid_ms;
    PyObject *kind, *right_id, *type, *json;
    if (!PyArg_ParseTuple(given, "LSSSSLL", &step, &kind, &right_id, &type, &json, &value_minor,
                          &valid_ms))
        return -1;
    *right = (Right){step, span_of(kind), span_of(right_id), span_of(type), span_of(json),
                     value_minor, valid_ms, 0};
    return 0;
}

static int take_campaign(const Plan *plan, PyObject *given, Campaign *campaign) {
    PyObject *id, *currency, *rights;
    int plain, automatic, dark, on_goods;
    Py_ssize_t calendar;
    long long version, effective, days, first_day, target, limit, on, least, cap, rounds, cool;
    long long opens, closes, grace, horizon;
    if (!PyArg_ParseTuple(given, "SLLppppnSLLLLLLLLLLLLLO!", &id, &version, &effective, &plain,
                          &automatic, &dark, &on_goods, &calendar, &currency, &days, &first_day,
                          &target, &limit, &on, &least, &cap, &rounds, &cool, &opens, &closes,
                          &grace, &horizon, &PyList_Type, &rights))
        return -1;
    if (calendar < 0 || (size_t)calendar >= plan->calendars || (plain && target < 1)) {
        PyErr_SetString(PyExc_ValueError, "a campaign without calendar or target");
        return -1;
    }
    *campaign = (Campaign){
        .campaign_id = span_of(id), .version = version, .effective_ms = effective,
        .plain = plain, .automatic = automatic, .dark = dark, .on_goods = on_goods,
        .calendar = &plan->calendar[calendar], .currency = span_of(currency), .days = days,
        .first_day = first_day, .target_orders = target, .limit = limit, .on = on,
        .min_amount_minor = least, .daily_cap = cap, .rounds_max = rounds, .cool_down_days = cool,
        .opens_ms = opens, .closes_ms = closes, .grace_ms = grace,
        .horizon_ms = horizon,
    };
    campaign->right = zeroed(PyList_GET_SIZE(rights), sizeof(Right));
    if (campaign->right == NULL) return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(rights); i++, campaign->rights++)
        if (take_right(PyList_GET_ITEM(rights, i), &campaign->right[i]) < 0) return -1;
    return 0;
}

static int take_layout(PyObject *given, Layout *layout) {
    Py_ssize_t count;
    PyObject *gap[GAPS_MAX];
    if (!PyArg_ParseTuple(given, "nSSSSSS", &count, &gap[0], &gap[1], &gap[2], &gap[3], &gap[4],
                          &gap[5]))
        return -1;
    layout->count = (size_t)count;
    for (int i = 0; i < GAPS_MAX; i++) layout->gap[i] = span_of(gap[i]);
    return 0;
}

static int take_all(PlanObject *self, PyObject *given) {
    Plan *plan = &self->plan;
    PyObject *campaigns, *calendars, *utc, *layouts, *fresh, *verdict, *heads, *outgoing;
    long long facts_max;
    if (!PyArg_ParseTuple(given, "O!O!O!O!SSLO!O!", &PyList_Type, &campaigns, &PyList_Type,
                          &calendars, &PyTuple_Type, &utc, &PyTuple_Type, &layouts, &fresh,
                          &verdict, &facts_max, &PyList_Type, &heads, &PyType_Type, &outgoing))
        return -1;
    self->outgoing = (PyTypeObject *)outgoing;
    if (PyTuple_GET_SIZE(layouts) != 4 || PyList_GET_SIZE(heads) != TYPES ||
        PyBytes_GET_SIZE(fresh) < 1 || PyBytes_GET_SIZE(verdict) < 1 || !PyType_IsSubtype(self->outgoing, &PyTuple_Type)) {
        PyErr_SetString(PyExc_ValueError, "a plan of another version");
        return -1;
    }
    plan->fresh = span_of(fresh);
    plan->verdict = span_of(verdict);
    plan->schema = plan->fresh.at[0];
    plan->facts_max = facts_max;
    Layout *layout[] = {&plan->row, &plan->task, &plan->entry, &plan->fact};
    for (Py_ssize_t i = 0; i < 4; i++)
        if (take_layout(PyTuple_GET_ITEM(layouts, i), layout[i]) < 0) return -1;
    for (Py_ssize_t i = 0; i < TYPES; i++) {
        PyObject *pair = PyList_GET_ITEM(heads, i);
        if (!PyArg_ParseTuple(pair, "UO!", &self->topics[i], &PyTuple_Type, &self->constant[i]))
            return -1;
    }
    if (take_calendar(utc, &plan->utc) < 0) return -1;
    plan->calendar = zeroed(PyList_GET_SIZE(calendars), sizeof(Calendar));
    if (plan->calendar == NULL) return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(calendars); i++, plan->calendars++)
        if (take_calendar(PyList_GET_ITEM(calendars, i), &plan->calendar[i]) < 0) {
            plan->calendars++; /* what it has is freed with the rest */
            return -1;
        }
    plan->campaign = zeroed(PyList_GET_SIZE(campaigns), sizeof(Campaign));
    if (plan->campaign == NULL) return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(campaigns); i++) {
        plan->campaigns++;
        if (take_campaign(plan, PyList_GET_ITEM(campaigns, i), &plan->campaign[i]) < 0) return -1;
    }
    return 0;
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "by position");
        return NULL;
    }
    PlanObject *self = (PlanObject *)type->tp_alloc(type, 0); /* zeroed */
    if (self == NULL) return NULL;
    self->given = Py_NewRef(args);
    if (take_all(self, args) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void plan_dealloc(PlanObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    plan_free(&self->plan);
    work_free(&self->work);
    Py_XDECREF(self->cause);
    Py_XDECREF(self->of_topic);
    Py_XDECREF(self->of_partition);
    Py_XDECREF(self->given);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* -- outputs ---------------------------------------------------------------------------------- */

static PyObject *bytes_of(const char *at, size_t len) {
    return PyBytes_FromStringAndSize(at, (Py_ssize_t)len);
}

/* The headers that name the topic and partition of a cause: shared by all that it causes, and made
 * anew for another one only. */
static int note_cause(PlanObject *self, PyObject *record) {
    PyObject *topic = PyTuple_GET_ITEM(record, TOPIC);
    PyObject *partition = PyTuple_GET_ITEM(record, PARTITION);
    if (self->cause != NULL && self->of_topic == topic && self->of_partition == partition) return 0;
    PyObject *number = PyObject_Str(partition);
    PyObject *pair = number == NULL ? NULL : PyTuple_New(2);
    if (pair != NULL) {
        PyTuple_SET_ITEM(pair, 0, header(CAUSE_TOPIC, PyUnicode_AsUTF8String(topic)));
        PyTuple_SET_ITEM(pair, 1, header(CAUSE_PARTITION, PyUnicode_AsUTF8String(number)));
    }
    Py_XDECREF(number);
    if (PyErr_Occurred()) {
        Py_XDECREF(pair);
        return -1;
    }
    Py_XSETREF(self->cause, pair);
    Py_XSETREF(self->of_topic, Py_NewRef(topic));
    Py_XSETREF(self->of_partition, Py_NewRef(partition));
    return 0;
}

static int append_said(PlanObject *self, const Said *said, PyObject *record, Span offset, int packed,
                       PyObject *outgoing) {
    Parts parts = {
        .outgoing = self->outgoing, .topic = self->topics[said->type],
        .key = PyTuple_GET_ITEM(record, KEY), .constant = self->constant[said->type],
        .cause = self->cause, .headers = PyTuple_GET_ITEM(record, HEADERS),
        .event_id = {said->event_id, ID_LEN}, .time = {said->time, said->time_len},
        .offset = offset, .value = {self->work.bodies.at + said->from, said->len},
    };
    PyObject *one = packed ? packed_of(&parts) : outgoing_of(&parts);
    int done = one == NULL ? -1 : PyList_Append(outgoing, one);
    Py_XDECREF(one);
    return done;
}

/* -- one record ------------------------------------------------------------------------------- */

/* A list of (text, bytes), and a ce_id that is the order's own: envelope.require_id. */
static bool headers_agree(PyObject *headers, const Order *order) {
    if (!PyList_CheckExact(headers)) return false;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers); i++) {
        PyObject *pair = PyList_GET_ITEM(headers, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
            !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0)))
            return false;
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(pair, 0), "ce_id")) continue;
        PyObject *value = PyTuple_GET_ITEM(pair, 1);
        if (!PyBytes_Check(value)) return false;
        Span id = span_of(value), own = order->order_id;
        char text[20];
        Span version = {text, digits(text, order->version)};
        if (id.len != own.len + 1 + version.len || !same((Span){id.at, own.len}, own) ||
            id.at[own.len] != ':' || !same((Span){id.at + own.len + 1, version.len}, version))
            return false;
    }
    return true;
}

/* Borrowed: the user's row in this unit of work, None: nobody yet. NULL: not here as bytes. */
static PyObject *row_of(PyObject *key, PyObject *touched, PyObject *read) {
    PyObject *row = PyDict_GetItemWithError(touched, key);
    if (row == NULL && !PyErr_Occurred()) row = PyDict_GetItemWithError(read, key);
    return row != NULL && (row == Py_None || PyBytes_CheckExact(row)) ? row : NULL;
}

static bool is_record(PyObject *record) {
    return PyTuple_Check(record) && PyTuple_GET_SIZE(record) == RECORD_FIELDS &&
           PyUnicode_Check(PyTuple_GET_ITEM(record, TOPIC)) &&
           PyLong_Check(PyTuple_GET_ITEM(record, PARTITION)) &&
           PyLong_Check(PyTuple_GET_ITEM(record, OFFSET)) &&
           PyBytes_CheckExact(PyTuple_GET_ITEM(record, KEY)) &&
           PyBytes_CheckExact(PyTuple_GET_ITEM(record, VALUE)) &&
           PyLong_Check(PyTuple_GET_ITEM(record, RECORDED));
}

/* 1: folded, 0: not mine, -1: an error. Nothing is changed unless it is 1. */
static int fold_record(PlanObject *self, PyObject *record, PyObject *touched, PyObject *read,
                       PyObject *outgoing, int packed) {
    Work *work = &self->work;
    if (!is_record(record)) return 0;
    PyObject *key = PyTuple_GET_ITEM(record, KEY);
    PyObject *row = row_of(key, touched, read);
    if (row == NULL) return PyErr_Occurred() ? -1 : 0;
    long long recorded_ms = PyLong_AsLongLong(PyTuple_GET_ITEM(record, RECORDED));
    if (PyErr_Occurred()) return -1;
    Span bytes = row == Py_None ? self->plan.fresh : span_of(row);
    Result result = fold(&self->plan, work, span_of(key), span_of(PyTuple_GET_ITEM(record, VALUE)),
                         recorded_ms, bytes);
    if (result == NO_MEMORY) {
        PyErr_NoMemory();
        return -1;
    }
    if (result == NOT_MINE || !headers_agree(PyTuple_GET_ITEM(record, HEADERS), &work->order))
        return 0;
    long long at = PyLong_AsLongLong(PyTuple_GET_ITEM(record, OFFSET));
    if (PyErr_Occurred()) return -1;
    char text[20];
    Span offset = {text, digits(text, at)};
    PyObject *made = bytes_of(work->new_row.at, work->new_row.len);
    int done = made == NULL ? -1 : note_cause(self, record);
    Py_ssize_t before = PyList_GET_SIZE(outgoing);
    for (size_t i = 0; done == 0 && i < work->said; i++)
        done = append_said(self, &work->say[i], record, offset, packed, outgoing);
    if (done == 0) done = PyDict_SetItem(touched, key, made);
    Py_XDECREF(made);
    if (done < 0) { /* out of memory: leave nothing behind */
        PyList_SetSlice(outgoing, before, PyList_GET_SIZE(outgoing), NULL);
        return -1;
    }
    for (size_t i = 0; i < work->said; i++) {
        self->plan.said[work->say[i].type]++;
        if (work->say[i].campaign != NULL) work->say[i].campaign->said[work->say[i].type]++;
        if (work->say[i].right != NULL) work->say[i].right->issued++;
    }
    return 1;
}

/* -- methods ---------------------------------------------------------------------------------- */

PyDoc_STRVAR(fold_doc,
"fold(records, start, stop, touched, read, outgoing, packed=False) -> index\n\n"
"Fold records of one topic and partition from `start` to `stop` while they are plain: rows (bytes, None for a user of whom nothing\n"
"is known) come from `touched`, else `read`, and go to `touched`; outputs go to `outgoing`,\n"
"`packed` ones as objects that are read as what they stand for.\n"
"Return the index of the first record that is not mine, or `stop`: nothing of it was done.");

static PyObject *plan_fold(PlanObject *self, PyObject *args) {
    PyObject *records, *touched, *read, *outgoing;
    Py_ssize_t at, stop;
    int packed = 0;
    if (!PyArg_ParseTuple(args, "O!nnO!O!O!|p", &PyList_Type, &records, &at, &stop, &PyDict_Type,
                          &touched, &PyDict_Type, &read, &PyList_Type, &outgoing, &packed))
        return NULL;
    if (at < 0) at = 0;
    if (stop > PyList_GET_SIZE(records)) stop = PyList_GET_SIZE(records);
    for (; at < stop; at++) {
        int done = fold_record(self, PyList_GET_ITEM(records, at), touched, read, outgoing, packed);
        if (done < 0) return NULL;
        if (done == 0) break;
    }
    return PyLong_FromSsize_t(at);
}

PyDoc_STRVAR(counted_doc,
"counted() -> ([outputs by type], [(campaign_id, type, task events)],\n"
"              [(campaign_id, kind, currency, rewards, minor units)])\n\n"
"What was said since the last call.");

static PyObject *plan_counted(PlanObject *self, PyObject *Py_UNUSED(none)) {
    Plan *plan = &self->plan;
    PyObject *types = PyList_New(TYPES), *tasks = PyList_New(0), *rights = PyList_New(0);
    if (types == NULL || tasks == NULL || rights == NULL) goto failed;
    for (int i = 0; i < TYPES; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(plan->said[i]);
        if (count == NULL) goto failed;
        PyList_SET_ITEM(types, i, count);
    }
    for (size_t i = 0; i < plan->campaigns; i++) {
        Campaign *campaign = &plan->campaign[i];
        for (int type = 0; type < TYPES; type++) {
            if (campaign->said[type] == 0) continue;
            PyObject *one = Py_BuildValue(
                "s#iK", campaign->campaign_id.at, (Py_ssize_t)campaign->campaign_id.len, type,
                (unsigned long long)campaign->said[type]);
            int done = one == NULL ? -1 : PyList_Append(tasks, one);
            Py_XDECREF(one);
            if (done < 0) goto failed;
            campaign->said[type] = 0;
        }
        for (size_t n = 0; n < campaign->rights; n++) {
            Right *right = &campaign->right[n];
            if (right->issued == 0) continue;
            PyObject *count = PyLong_FromUnsignedLongLong(right->issued);
            PyObject *each = PyLong_FromLongLong(right->value_minor);
            PyObject *amount = count && each ? PyNumber_Multiply(count, each) : NULL;
            PyObject *one = amount == NULL ? NULL : Py_BuildValue(
                "s#s#s#OO", campaign->campaign_id.at, (Py_ssize_t)campaign->campaign_id.len,
                right->kind.at, (Py_ssize_t)right->kind.len, campaign->currency.at,
                (Py_ssize_t)campaign->currency.len, count, amount);
            int done = one == NULL ? -1 : PyList_Append(rights, one);
            Py_XDECREF(count);
            Py_XDECREF(each);
            Py_XDECREF(amount);
            Py_XDECREF(one);
            if (done < 0) goto failed;
            right->issued = 0;
        }
    }
    memset(plan->said, 0, sizeof plan->said);
    return Py_BuildValue("NNN", types, tasks, rights);
failed:
    Py_XDECREF(types);
    Py_XDECREF(tasks);
    Py_XDECREF(rights);
    return NULL;
}

PyDoc_STRVAR(scanned_doc,
"scanned(key, value, recorded_ms) -> the fact as a row holds it, or None\n\n"
"For tests: what `fold` understands of a record's bytes.");

static PyObject *plan_scanned(PlanObject *self, PyObject *args) {
    PyObject *key, *value;
    long long recorded_ms;
    if (!PyArg_ParseTuple(args, "SSL", &key, &value, &recorded_ms)) return NULL;
    Work *work = &self->work;
    if (!scan(span_of(key), span_of(value), recorded_ms, &work->order)) Py_RETURN_NONE;
    work->fact.len = 0;
    fact_write(&self->plan, &work->order, &work->fact);
    return work->fact.failed ? PyErr_NoMemory() : bytes_of(work->fact.at, work->fact.len);
}

PyDoc_STRVAR(time_doc,
"time(calendar, at_ms) -> (text or None, day or None, begin of that day)\n\n"
"For tests: what the table of the plan's n-th calendar says of an instant.");

static PyObject *plan_time(PlanObject *self, PyObject *args) {
    Py_ssize_t n;
    long long at_ms;
    if (!PyArg_ParseTuple(args, "nL", &n, &at_ms)) return NULL;
    if (n < 0 || (size_t)n >= self->plan.calendars) return PyErr_Format(PyExc_IndexError, "%zd", n);
    const Calendar *calendar = &self->plan.calendar[n];
    char text[TIME_ROOM];
    size_t len = 0;
    int64_t day, began_ms;
    if (!time_text(calendar, at_ms, text, &len)) len = 0;
    if (!day_of(calendar, at_ms, &day) || !begins_ms(calendar, day, &began_ms))
        return Py_BuildValue("z#OO", len ? text : NULL, (Py_ssize_t)len, Py_None, Py_None);
    return Py_BuildValue("z#LL", len ? text : NULL, (Py_ssize_t)len, (long long)day,
                         (long long)began_ms);
}

static PyMethodDef plan_methods[] = {
    {"fold", (PyCFunction)plan_fold, METH_VARARGS, fold_doc},
    {"counted", (PyCFunction)plan_counted, METH_NOARGS, counted_doc},
    {"scanned", (PyCFunction)plan_scanned, METH_VARARGS, scanned_doc},
    {"time", (PyCFunction)plan_time, METH_VARARGS, time_doc},
    {NULL, NULL, 0, NULL},
};

/* -- rows of a batch -------------------------------------------------------------------------- */

#define LAST_CONTROL 0x1f /* first bytes of keys that are ours; no user's begins with one */

PyDoc_STRVAR(look_up_doc,
"look_up(records, touched, read, below, kept) -> ({key: None}, [key])\n\n"
"Bring the rows of the records' users from `below`, else `kept`, into `read`, unless they are there\n"
"or in `touched`. Return which keys are nowhere, and which rows are here but not as bytes.");

static PyObject *look_up(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *records, *touched, *read, *below, *kept;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!", &PyList_Type, &records, &PyDict_Type, &touched,
                          &PyDict_Type, &read, &PyDict_Type, &below, &PyDict_Type, &kept))
        return NULL;
    PyObject *wanted = PyDict_New(), *states = PyList_New(0);
    if (wanted == NULL || states == NULL) goto failed;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(records); i++) {
        PyObject *record = PyList_GET_ITEM(records, i);
        if (!PyTuple_Check(record) || PyTuple_GET_SIZE(record) != RECORD_FIELDS) continue;
        PyObject *key = PyTuple_GET_ITEM(record, KEY);
        if (!PyBytes_CheckExact(key) || PyBytes_GET_SIZE(key) == 0 ||
            (unsigned char)PyBytes_AS_STRING(key)[0] <= LAST_CONTROL)
            continue;
        PyObject *row = PyDict_GetItemWithError(touched, key);
        if (row == NULL && !PyErr_Occurred()) row = PyDict_GetItemWithError(read, key);
        if (row == NULL && !PyErr_Occurred()) {
            row = PyDict_GetItemWithError(below, key);
            if (row == NULL && !PyErr_Occurred()) row = PyDict_GetItemWithError(kept, key);
            if (PyErr_Occurred()) goto failed;
            if (PyDict_SetItem(row == NULL ? wanted : read, key, row == NULL ? Py_None : row) < 0)
                goto failed;
        }
        if (PyErr_Occurred()) goto failed;
        if (row != NULL && row != Py_None && !PyBytes_CheckExact(row) &&
            PyList_Append(states, key) < 0)
            goto failed;
    }
    return Py_BuildValue("NN", wanted, states);
failed:
    Py_XDECREF(wanted);
    Py_XDECREF(states);
    return NULL;
}

/* -- for tests -------------------------------------------------------------------------------- */

PyDoc_STRVAR(hashed_doc,
"hashed(data, quick) -> (hex, was_quick)\n\n"
"What an id would be derived from these bytes, with the processor's own SHA-256 or without it.");

static PyObject *hashed(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *data;
    Py_ssize_t len;
    int quick;
    char hex[HEX_DIGITS];
    if (!PyArg_ParseTuple(args, "y#p", &data, &len, &quick)) return NULL;
    bool was = hash_quick(quick);
    derived((Span){data, (size_t)len}, hex);
    hash_quick(true);
    return Py_BuildValue("s#O", hex, (Py_ssize_t)HEX_DIGITS, was ? Py_True : Py_False);
}

static PyMethodDef functions[] = {
    {"look_up", look_up, METH_VARARGS, look_up_doc},
    {"hashed", hashed, METH_VARARGS, hashed_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_new, (void *)plan_new},
    {Py_tp_dealloc, (void *)plan_dealloc},
    {Py_tp_methods, plan_methods},
    {Py_tp_doc, "The plain campaigns of one registry, ready to fold; made by plan.py."},
    {0, NULL},
};

static PyType_Spec plan_spec = {
    .name = "streams.native._native.Plan",
    .basicsize = sizeof(PlanObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = plan_slots,
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "streams.native._native",
    .m_doc = "The short path of the fold, compiled; see streams/native/__init__.py.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void);

PyMODINIT_FUNC PyInit__native(void) {
    hash_init();
    PyObject *made = PyModule_Create(&module);
    if (made == NULL) return NULL;
    PyObject *types = PyTuple_New(TYPES);
    if (types == NULL) goto failed;
    for (int i = 0; i < TYPES; i++) {
        PyObject *name = bytes_of(TYPE_NAMES[i].at, TYPE_NAMES[i].len);
        PyTuple_SET_ITEM(types, i, name == NULL ? NULL
                                                : PyUnicode_FromEncodedObject(name, "utf-8", NULL));
        Py_XDECREF(name);
    }
    PyObject *plan = PyType_FromSpec(&plan_spec);
    if (PyErr_Occurred() || PyModule_AddObjectRef(made, "TYPES", types) < 0 ||
        PyModule_AddObjectRef(made, "Plan", plan) < 0 ||
        packed_init(made) < 0 || sender_init(made) < 0 || reader_init(made) < 0 ||
        gathered_init(made) < 0 ||
        taker_init(made) < 0 ||
        PyModule_AddIntConstant(made, "SOURCE", LEIDAN_SOURCE) < 0) {
        Py_XDECREF(types);
        Py_XDECREF(plan);
        goto failed;
    }
    Py_DECREF(types);
    Py_DECREF(plan);
    return made;
failed:
    Py_DECREF(made);
    return NULL;
}
