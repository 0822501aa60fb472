/* What a kernel is given: one instruction of a Program, its operands bound to memory. */
#ifndef FASTNN_INSTRUCTION_H
#define FASTNN_INSTRUCTION_H

#include <stdint.h>

enum { MAX_DIMS = 6, MAX_OPERANDS = 12, MAX_INTEGERS = 8, MAX_NUMBERS = 8 };
enum { FORM_WORDS = 96 };
enum { KEPT_OPERAND = 6 }; /* of a product: a packed copy of its second factor; see kernels/kept.pxi */
enum { KERNEL_OK = 0, KERNEL_BAD_LABEL = 1, KERNEL_BAD_INDEX = 2, KERNEL_INTERRUPTED = 3 };
enum { TYPE_FLOAT32 = 0, TYPE_FLOAT64 = 1, TYPE_INT32 = 2, TYPE_INT64 = 3, TYPE_UINT8 = 4 };

/* Bytes of a number of that type. */
static inline int64_t item_size(int type) {
    return type == TYPE_UINT8 ? 1 : type == TYPE_FLOAT32 || type == TYPE_INT32 ? 4 : 8;
}

typedef struct {
    char *data;                /* NULL: the operand is absent (an optional input, or an output that nobody reads) */
    int64_t shape[MAX_DIMS];
    int64_t stride[MAX_DIMS];  /* in elements; may be zero or negative in calls on arrays, contiguous in Programs */
    int32_t ndim;
    int32_t type;
    int32_t padded;            /* what follows its last element, up to a cache line's end, is nobody's: see share.pxi */
} Operand;

/* Rows that the next step will gather: whoever has much arithmetic to do asks for them meanwhile; see coming.pxi. */
typedef struct {
    const char *source;        /* row i lies at source + index[i] * stride, or at source + i * stride without an index */
    const int64_t *index;
    int64_t stride, size;      /* in bytes */
    int64_t rows, row, offset; /* how many there are; what was asked for so far: up to this byte of that row */
} Coming;

typedef struct Instruction Instruction;

/* Called for each of n_threads shares of the work, by as many threads at once, or by fewer one after the other. Returns
 * KERNEL_OK or the reason why not. Kernels hold no lock, touch no Python object and never wait for each other. One that
 * `closes` is called once more when all of several shares are done, with thread == n_threads, and finds the scratch
 * memory as they have left it.                                                                                     */
typedef int (*Kernel)(const Instruction *, int thread, int n_threads);

/* Called once for the extents and addresses that are bound now: writes what follows from them into `form`, and returns
 * a kernel that does the same work from there, on up to n_threads threads; NULL if there is no such short way.       */
typedef Kernel (*Prepare)(Instruction *, int n_threads);

/* The same for all n instructions of a Program together, on one thread: `each` has been prepared, `general`
 * are their kernels for any operands. NULL if they are better run one by one.                                        */
typedef Kernel (*PrepareWhole)(Instruction *together, const Instruction *each, const Kernel *general, int n);

struct Instruction {
    Kernel kernel;
    int64_t form[FORM_WORDS];      /* what a Prepare found out, for the kernel that it returned */
    Operand operand[MAX_OPERANDS]; /* outputs first, then inputs, in the order of the Operation */
    int64_t integer[MAX_INTEGERS]; /* the Operation's whole-number attributes: flags, axes, codes, slots of the run row */
    double number[MAX_NUMBERS];    /* its real attributes */
    Coming *coming;                /* of the Program's executor; NULL in calls on arrays */
    const double *run;             /* this step's row of the run table: learning rate, step number, ... by slot */
    char *scratch;                 /* scratch_size bytes for each thread, 64-byte aligned */
    int64_t scratch_size;
    double work;                   /* rough cost in nanoseconds on one thread */
    int32_t n_operands, n_outputs;
    int32_t max_threads;           /* 1 where the kernel cannot share its work */
    int32_t barrier;               /* wait for all threads before this one: it touches what another may have written */
    int32_t closes;                /* see Kernel */
};

#endif
