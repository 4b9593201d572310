#include "msgpack.h"

static bool take(Cursor *from, size_t len, uint64_t *value) {
    if (left(from) < len) return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++) sum = sum << 8 | (unsigned char)from->at[i];
    from->at += len;
    *value = sum;
    return true;
}

static bool take_byte(Cursor *from, unsigned char *byte) {
    if (from->at == from->end) return false;
    *byte = (unsigned char)*from->at++;
    return true;
}

static bool take_span(Cursor *from, uint64_t len, Span *span) {
    if (left(from) < len) return false;
    *span = (Span){from->at, (size_t)len};
    from->at += len;
    return true;
}

bool read_array(Cursor *from, size_t *count) {
    unsigned char byte;
    uint64_t many;
    if (!take_byte(from, &byte)) return false;
    if ((byte & 0xf0) == 0x90)
        many = byte & 0x0f;
    else if (!(byte == 0xdc && take(from, 2, &many)) && !(byte == 0xdd && take(from, 4, &many)))
        return false;
    *count = (size_t)many;
    return true;
}

bool read_int(Cursor *from, int64_t *value) {
    unsigned char byte;
    uint64_t bits;
    if (!take_byte(from, &byte)) return false;
    if (byte < 0x80 || byte >= 0xe0) {
        *value = (int8_t)byte;
        return true;
    }
    if (byte < 0xcc || byte > 0xd3) return false;
    bool is_signed = byte >= 0xd0;
    size_t len = (size_t)1 << (byte & 3);
    if (!take(from, len, &bits)) return false;
    if (!is_signed) {
        if (bits > INT64_MAX) return false;
        *value = (int64_t)bits;
        return true;
    }
    unsigned shift = (unsigned)(64 - 8 * len);
    *value = (int64_t)(bits << shift) >> shift;
    return true;
}

bool read_bool(Cursor *from, bool *value) {
    unsigned char byte;
    if (!take_byte(from, &byte) || (byte != 0xc2 && byte != 0xc3)) return false;
    *value = byte == 0xc3;
    return true;
}

bool read_text(Cursor *from, Span *text) {
    unsigned char byte;
    uint64_t len;
    if (!take_byte(from, &byte)) return false;
    if ((byte & 0xe0) == 0xa0)
        len = byte & 0x1f;
    else if (byte < 0xd9 || byte > 0xdb || !take(from, (size_t)1 << (byte - 0xd9), &len))
        return false;
    return take_span(from, len, text);
}

bool read_bytes(Cursor *from, Span *bytes) {
    unsigned char byte;
    uint64_t len;
    if (!take_byte(from, &byte) || byte < 0xc4 || byte > 0xc6) return false;
    return take(from, (size_t)1 << (byte - 0xc4), &len) && take_span(from, len, bytes);
}

bool read_exactly(Cursor *from, Span bytes) {
    Span found;
    return take_span(from, bytes.len, &found) && same(found, bytes);
}

static void give(Buffer *to, unsigned char head, size_t len, uint64_t value) {
    unsigned char bytes[9] = {head};
    for (size_t i = 0; i < len; i++) bytes[len - i] = (unsigned char)(value >> (8 * i));
    put(to, bytes, len + 1);
}

void write_array(Buffer *to, size_t count) {
    if (count < 16)
        give(to, (unsigned char)(0x90 | count), 0, 0);
    else if (count <= 0xffff)
        give(to, 0xdc, 2, count);
    else
        give(to, 0xdd, 4, count);
}

void write_int(Buffer *to, int64_t value) {
    if (value >= 0) {
        if (value < 0x80)
            give(to, (unsigned char)value, 0, 0);
        else if (value <= UINT8_MAX)
            give(to, 0xcc, 1, (uint64_t)value);
        else if (value <= UINT16_MAX)
            give(to, 0xcd, 2, (uint64_t)value);
        else if (value <= UINT32_MAX)
            give(to, 0xce, 4, (uint64_t)value);
        else
            give(to, 0xcf, 8, (uint64_t)value);
    } else if (value >= -32) {
        give(to, (unsigned char)(int8_t)value, 0, 0);
    } else if (value >= INT8_MIN) {
        give(to, 0xd0, 1, (uint64_t)value);
    } else if (value >= INT16_MIN) {
        give(to, 0xd1, 2, (uint64_t)value);
    } else if (value >= INT32_MIN) {
        give(to, 0xd2, 4, (uint64_t)value);
    } else {
        give(to, 0xd3, 8, (uint64_t)value);
    }
}

void write_bool(Buffer *to, bool value) { give(to, value ? 0xc3 : 0xc2, 0, 0); }

void write_text(Buffer *to, Span text) {
    if (text.len < 32)
        give(to, (unsigned char)(0xa0 | text.len), 0, 0);
    else if (text.len <= UINT8_MAX)
        give(to, 0xd9, 1, text.len);
    else if (text.len <= UINT16_MAX)
        give(to, 0xda, 2, text.len);
    else
        give(to, 0xdb, 4, text.len);
    put_span(to, text);
}

void write_bytes_head(Buffer *to, size_t len) {
    if (len <= UINT8_MAX)
        give(to, 0xc4, 1, len);
    else if (len <= UINT16_MAX)
        give(to, 0xc5, 2, len);
    else
        give(to, 0xc6, 4, len);
}
