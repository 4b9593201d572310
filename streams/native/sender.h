/* Hands records to librdkafka without a call of Python's for each of them; see sender.c. */
#ifndef LEIDAN_SENDER_H
#define LEIDAN_SENDER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Adds the type Sender to the module. -1: an exception is set. */
int sender_init(PyObject *module);

#endif
