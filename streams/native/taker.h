/* Makes records of a poll's messages without a call of Python's for each field; see taker.c. */
#ifndef LEIDAN_TAKER_H
#define LEIDAN_TAKER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Adds the type Taker to the module. -1: an exception is set. */
int taker_init(PyObject *module);

#endif
