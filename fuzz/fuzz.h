#ifndef FUZZ_H
#define FUZZ_H
#include <stddef.h>
#include <stdint.h>

/*
 * What a fuzz target is: one function over hostile bytes, which returns 0, and
 * REQUIREs what must hold whatever they are.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/*
 * Seeds made by code, for what is better made than stored: calls run with each.
 * Optional. The replay (replay.c) starts from these and from the corpus.
 */
void fuzz_seeds(void (*run)(const uint8_t *data, size_t n)) __attribute__((weak));
#endif
