/* Rows that were read and are not written yet, each in one piece, in the order they came. */
#ifndef LEIDAN_GATHERED_H
#define LEIDAN_GATHERED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "bytes.h"

/* Made here only. `value` NULL in a Span: the row is deleted. */
typedef struct Gathered Gathered;

/* The Gathered of a Python object that nobody works with, which is ours until `gathered_leave`; else
 * NULL with an error. What lies between the two may go without the lock. */
Gathered *gathered_enter(PyObject *object);
void gathered_leave(Gathered *self);

/* A new one, of the arguments that its type takes. */
PyObject *gathered_made(PyObject *args);

/* Takes a copy. False: out of memory. */
bool gathered_add(Gathered *self, Span key, Span value);

/* What is held, in bytes. */
size_t gathered_bytes(const Gathered *self);

/* Says whether a row is the last of its transaction; if so, all that were added are whole. */
bool gathered_closes(Gathered *self, Span key, Span value);

int gathered_init(PyObject *module);

#endif
