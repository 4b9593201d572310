/* An output in one piece: as the fold leaves it for the sender; see packed.c. */
#ifndef LEIDAN_PACKED_H
#define LEIDAN_PACKED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "bytes.h"

/* What an output is made of; all borrowed. Its headers, in the order of wire/outputs.encode:
 * constant, ce_id, ce_subject (the key), ce_time, cause, cause-offset, what is passed on. */
typedef struct {
    PyTypeObject *outgoing; /* ports.Outgoing, a tuple */
    PyObject *topic, *key;
    PyObject *constant; /* a tuple of pairs: what all outputs of a type share */
    PyObject *cause;    /* a tuple of two pairs: topic and partition of the record that caused it */
    PyObject *headers;  /* that record's, a list of pairs, of which the trace is passed on; or NULL */
    Span event_id, time, offset, value;
} Parts;

/* A ports.Outgoing. NULL: an exception is set. */
PyObject *outgoing_of(const Parts *parts);

/* The same as one object: a tenth of the allocations, nothing that the collector has to walk. It is
 * read as the tuple that it stands for, which is made anew each time. */
PyObject *packed_of(const Parts *parts);

/* Says whether it is such an object, and of which parts. Needs no lock. */
bool is_packed(PyObject *object, Parts *parts);

/* The headers that are an output's own, or its cause's. */
enum { CE_ID, CE_SUBJECT, CE_TIME, CAUSE_TOPIC, CAUSE_PARTITION, CAUSE_OFFSET, HEADER_NAMES };
extern const Span HEADER_NAME[HEADER_NAMES]; /* each ends in a zero byte */

/* A pair of such a name and a value; steals `value`. NULL: it was, or an exception is set. */
PyObject *header(int name, PyObject *value);

/* Adds the type Packed to the module. -1: an exception is set. */
int packed_init(PyObject *module);

#endif
