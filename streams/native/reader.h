/* Reads one partition from librdkafka without calls of Python's for each record; see reader.c. */
#ifndef LEIDAN_READER_H
#define LEIDAN_READER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Adds the type Reader to the module. -1: an exception is set. */
int reader_init(PyObject *module);

#endif
