#include "hash.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define SHA_OF_X86
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t ROUNDS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static inline uint32_t turn(uint32_t x, int by) { return (x >> by) | (x << (32 - by)); }

static void block_anywhere(uint32_t state[8], const unsigned char *at) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++, at += 4)
        w[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    for (int i = 16; i < 64; i++) {
        uint32_t low = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t high = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + low + w[i - 7] + high;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + ROUNDS[i] + w[i];
        uint32_t s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

#ifdef SHA_OF_X86

/* The processor's own rounds, four at a time: a tenth of the time. Its state is {f,e,b,a}, {h,g,d,c}. */
__attribute__((target("sha,sse4.1"))) static void block_of_x86(uint32_t state[8],
                                                               const unsigned char *at) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    const __m128i feba = _mm_alignr_epi8(badc, hgfe, 8), hgdc = _mm_blend_epi16(hgfe, badc, 0xf0);
    __m128i first = feba, second = hgdc, w[4];
    for (int i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)at + i), big_endian);
    for (int i = 0; i < 16; i++) {
        const __m128i now = w[i % 4], next = w[(i + 1) % 4], last = w[(i + 3) % 4];
        const __m128i sum =
            _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(ROUNDS + 4 * i)));
        second = _mm_sha256rnds2_epu32(second, first, sum);
        first = _mm_sha256rnds2_epu32(first, second, _mm_shuffle_epi32(sum, 0x0e));
        const __m128i between = _mm_alignr_epi8(last, w[(i + 2) % 4], 4);
        w[i % 4] = _mm_sha256msg2_epu32(
            _mm_add_epi32(_mm_sha256msg1_epu32(now, next), between), last);
    }
    first = _mm_shuffle_epi32(_mm_add_epi32(first, feba), 0x1b);
    second = _mm_shuffle_epi32(_mm_add_epi32(second, hgdc), 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(first, second, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(second, first, 8));
}

static bool has_sha(void) {
    unsigned a, b, c, d;
    bool sse = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1);
    return sse && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29));
}

#endif

static void (*quickest)(uint32_t state[8], const unsigned char *at) = block_anywhere;
static void (*block)(uint32_t state[8], const unsigned char *at) = block_anywhere;

bool hash_quick(bool wanted) {
    block = wanted ? quickest : block_anywhere;
    return block != block_anywhere;
}

void derived(Span bytes, char hex[HEX_DIGITS]) {
    uint32_t state[8];
    memcpy(state, START, sizeof state);
    const unsigned char *at = (const unsigned char *)bytes.at;
    size_t rest = bytes.len;
    for (; rest >= 64; rest -= 64, at += 64) block(state, at);
    unsigned char last[128] = {0};
    if (rest) memcpy(last, at, rest);
    last[rest] = 0x80;
    size_t end = rest < 56 ? 64 : 128;
    uint64_t bits = (uint64_t)bytes.len * 8;
    for (int i = 0; i < 8; i++) last[end - 1 - (size_t)i] = (unsigned char)(bits >> (8 * i));
    for (size_t from = 0; from < end; from += 64) block(state, last + from);
    static const char figures[] = "0123456789abcdef";
    for (int i = 0; i < HEX_DIGITS; i++) hex[i] = figures[state[i / 8] >> (28 - 4 * (i % 8)) & 15];
}

static uint32_t remainders[256];

void hash_init(void) {
#ifdef SHA_OF_X86
    if (has_sha()) quickest = block_of_x86;
#endif
    hash_quick(true);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >> 1) : c >> 1;
        remainders[i] = c;
    }
}

void mark(Span bytes, char four[4]) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < bytes.len; i++)
        crc = remainders[(crc ^ (unsigned char)bytes.at[i]) & 255] ^ (crc >> 8);
    crc ^= 0xffffffff;
    for (int i = 0; i < 4; i++) four[i] = (char)(unsigned char)(crc >> (24 - 8 * i));
}
