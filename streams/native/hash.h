/* The two hashes of ids: SHA-256 of what an id is derived from, CRC-32 of what a row has seen. */
#ifndef LEIDAN_HASH_H
#define LEIDAN_HASH_H

#include "bytes.h"

#define HEX_DIGITS 32 /* of a derived id: the first half of SHA-256 */

/* Writes the first 32 hex digits of SHA-256 of `bytes`. */
void derived(Span bytes, char hex[HEX_DIGITS]);

/* The CRC-32 of zlib, big-endian: `facts.mark`. */
void mark(Span bytes, char four[4]);

/* Fills the table of `mark` and chooses how `derived` works; once, before their first call. */
void hash_init(void);

/* Lets `derived` use what the processor has for SHA-256, or not; says whether it does now. */
bool hash_quick(bool wanted);

#endif
