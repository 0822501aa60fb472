/* Every number that depends on the instruction-set level: vector width and the shape of the product's tiles.
 *
 * LEVEL is 4, 3 or 2 (x86-64-v4, -v3, -v2) or 0 (the portable build); REAL_BITS is 32 or 64. Both come from the
 * compiler's command line. Nothing else in the kernels depends on the level. Where processors of one level differ, two
 * numbers stand here, and tuning.pxi chooses.                                                                      */
#ifndef FASTNN_TILES_H
#define FASTNN_TILES_H

#if !defined(LEVEL) || !defined(REAL_BITS)
#error "LEVEL (0, 2, 3 or 4) and REAL_BITS (32 or 64) must be defined"
#endif

/*          vector bytes, registers, rows of a tile, vectors in a tile's row                                       */
#if LEVEL == 4 /* 28 accumulators, 2 of B; A is broadcast from memory */
#define VBYTES 64
#define REGISTERS 32
#define MR 14
#define NV 2
#elif LEVEL == 3 /* 12 accumulators, 2 of B, 1 of A */
#define VBYTES 32
#define REGISTERS 16
#define MR 6
#define NV 2
#elif LEVEL == 2 /* 12 accumulators, 3 for products. A broadcast costs two instructions here: wide tiles */
#define VBYTES 16
#define REGISTERS 16
#define MR 3
#define NV 4
#elif defined(__aarch64__)
#define VBYTES 16
#define REGISTERS 32
#define MR 8
#define NV 2
#else
#define VBYTES 16
#define REGISTERS 16
#define MR 3
#define NV 4
#endif

#define ROW_TRIPLES ((MR + 2) / 3)
#define VL (VBYTES / (REAL_BITS / 8)) /* elements in a vector */
#define LOW_VL (LEVEL == 4 ? VL / 2 : VL) /* in the part of one that *_low functions work on */
#define LANE (16 / (REAL_BITS / 8))   /* in 16 bytes of one */
#define NR (NV * VL)                  /* columns of a tile */
#define TILE_VECTORS 8                /* vectors of the widest tile, ... */
#define WIDEST_ROWS (LEVEL == 4 ? 2 : 1) /* ... which has so many rows at most; ... */
#define WIDE_ROWS (LEVEL == 4 ? 6 : 3) /* ... up to so many have four vectors, ... */
#define TRIPLE_ROWS (LEVEL == 3 ? 4 : WIDE_ROWS) /* ... and so many, three, if they are a band's last */
#define THIN_WORK (LEVEL == 4 ? 16 : 0) /* vectors: up to so many multiply-adds, an update does without a tile */
/* A b whose columns are contiguous is turned on the way, by each band of up to TURNED_ROWS rows: by one band, or, where
 * vectors go through in two halves, by up to HALVED_TURNED_BANDS, if there are LONG_TURNED_STEPS. TURNED_STEPS are
 * turned at a time, in TURNED_GROUPS vectors of columns side by side, for one row in ONE_ROW_GROUPS; several bands use
 * TURNED_COLUMNS at most before the next ones, and those go through a buffer where c is strided. If columns share sets,
 * of which SHARING_COLUMNS have places, whole squares are turned, by up to SHARING_TURNED_ROWS; they alone do so, too,
 * with no more than TURNED_STEPS.                                                                                   */
#define TURNED_ROWS (LEVEL == 4 ? MR : 3)
#define HALVED_TURNED_BANDS 12
#define HALVED_SHORT_TURNED_BANDS 3
#define LONG_TURNED_STEPS 48
#define TURNED_STEPS (LEVEL == 4 ? LANE : VL)
#define TURNED_GROUPS (64 / VBYTES)
#define ONE_ROW_GROUPS (LEVEL == 4 ? 2 : 4)
#define TURNED_COLUMNS 256
#define SHARING_TURNED_ROWS (LEVEL == 4 ? 8 : 3)
#define SHARING_COLUMNS 8
#define SHARING_GROUPS (VL < SHARING_COLUMNS ? SHARING_COLUMNS / VL : 1)
#define LOW_GROUPS (SHARING_COLUMNS / LOW_VL)
_Static_assert(ONE_ROW_GROUPS >= TURNED_GROUPS && ONE_ROW_GROUPS >= SHARING_GROUPS, "turned.pxi has room for so many");

#define STRIP_VECTORS (1024 / VL)     /* of columns that are summed side by side in memory */

/* How much of a product's operands is copied, and when. Sizes are numbers.                                        */
#define BLOCK_REALS (1048576 / (REAL_BITS / 8)) /* a block of b: shared by all rows, from the second-level cache */
#define STACK_VECTORS (16384 / VBYTES)          /* blocks up to this size are packed on the stack */
#define STACK_REALS (STACK_VECTORS * VL)
/* Three cache lines between packed slivers that would otherwise begin in the same set of the caches, being a multiple
 * of 4096 bytes long; and how many vectors that is at most on the stack.                                            */
#define SLIVER_PADDING (192 / (REAL_BITS / 8))
#define STACK_PADDING_VECTORS (16384 / 4096 * 192 / VBYTES)
#define PACKED_ROWS 16 /* of b that are read side by side while it is packed: as many runs of memory */
#define FEW (VL / 4) /* rows or columns that would leave a square of VL mostly empty */
#define L1_REALS (16384 / (REAL_BITS / 8))      /* half of the smallest first-level cache */
#define NEAR_REALS (262144 / (REAL_BITS / 8))   /* a block of b up to this size is near: no band reads it from memory */
#if LEVEL == 4
#define FAR_REALS (1835008 / (REAL_BITS / 8))    /* a b of more than this comes from afar, ... */
#define NEAR_L3_FAR_REALS (12582912 / (REAL_BITS / 8)) /* ... or than this, where few cores share their third-level cache */
#define STREAMED_ROWS 64                         /* for up to so many rows it is read along its rows, ... */
#else /* what the second-level cache of Zen 3 does not hold, which narrow tiles read slowly */
#define FAR_REALS (524288 / (REAL_BITS / 8))
#define NEAR_L3_FAR_REALS FAR_REALS
#define STREAMED_ROWS 24
#endif
#define STREAMED_STEPS 8                         /* ... so many at a time, ... */
#define SHARED_STEPS 32                          /* ... or so many where bands share what they read, ... */
#define FEWER_STEPS 4                            /* ... or, below AVX-512, so many by one row if they share sets, ... */
#define STREAMED_COLUMNS 8192                    /* ... so far, ... */
#define STREAMED_REALS (524288 / (REAL_BITS / 8)) /* ... and no more of c at a time than this; */
#define ROW_VECTORS (LEVEL == 4 ? 8 : 4)         /* a single row, and sums of columns, so many vectors */
#define LOADING_ROWS 4                           /* up to so many rows, loading b is what takes the time: ... */
#define LOADING_COLUMNS (4 * NR)                 /* from so many columns on they begin at its cache lines, ... */
#define NEAR_L3_LOADING_COLUMNS (8 * NR)         /* ... or from so many; ... */
#define NARROW_LOADING_ROWS (6 * MR)             /* ... below AVX-512 up to so many rows, from twice as many columns on, ... */
#define PACKED_LOADING_ROWS 512                  /* ... and if b is packed from memory, up to so many rows, ... */
#define PACKED_LOADING_COLUMNS (8192 / (REAL_BITS / 8)) /* ... from so many columns on; ... */
#define STORING_STEPS 32                         /* ... and up to so many steps, storing c */
#define STORED_COLUMNS (4 * NR)                  /* of one step, c of so many columns is written along its rows, ... */
#define MOST_STORED_COLUMNS (8192 / (REAL_BITS / 8)) /* ... and up to so many, where vectors go through in halves */
#define KEPT_ROWS 3                              /* below AVX-512, more rows, up to a band, leave a kept copy in memory */
#define SHARING_ROWS 10                         /* rows of a that may share a set of the first-level cache, of 12 lines */
#define PACKING_ROWS ((LEVEL == 4 ? 8 : 6) * MR) /* b is packed where this many rows use a block ... */
#define PACKING_REALS (65536 / (REAL_BITS / 8)) /* ... of more than this */
/* Where the third-level cache is near (Zen 4 and 5), tiles of AVX-512 read b as fast where it lies, in blocks of half
 * the size, unless its rows share sets of the caches. (A packed block pushes the band of a out of the first cache, rows
 * of b just some sets of it.) With vectors in two halves (Zen 4) packing pays again for more rows than
 * HALVED_IN_PLACE_ROWS of a thread, and fewer than PACKING_ROWS read wide blocks sooner. With whole vectors (Zen 5) up
 * to LOADING_ROWS rows read a b whose rows share sets along them as soon as the second-level cache does not hold it. */
#define HALVED_IN_PLACE_ROWS 512
#define UNLIMITED INT64_MAX
#define IN_PLACE_BLOCK_REALS (BLOCK_REALS / 2)
#define L2_REALS (1048576 / (REAL_BITS / 8))
/* There and on other AMD processors, at every level, a packed block is as wide as b, up to WIDE_BLOCK_REALS for all
 * threads together. It comes back from that cache sooner than b, whose whole rows are then read, WIDE_PACKED_ROWS of
 * them side by side, as memory likes it; and a is read less often. So packing pays for fewer rows: b is only streamed
 * for up to SHARING_STREAMED_ROWS if its rows share sets, and MEMORY_STREAMED_ROWS if it has more than MEMORY_REALS,
 * which do not fit into that cache. (On Zen 4, where packing takes longer, for some more.)                          */
#define SHARING_STREAMED_ROWS (LEVEL == 4 ? 8 : 2 * MR)
#if LEVEL == 4
#define WIDE_BLOCK_REALS (8388608 / (REAL_BITS / 8))
#define WIDE_PACKED_ROWS 1
#define MEMORY_STREAMED_ROWS 3
#define MEMORY_REALS (25165824 / (REAL_BITS / 8))
#else /* measured on Zen 3; what is more than 4 MB comes from memory there, where others use the third-level cache, too */
#define WIDE_BLOCK_REALS (2097152 / (REAL_BITS / 8))
#define WIDE_PACKED_ROWS 8
#define MEMORY_STREAMED_ROWS SHARING_STREAMED_ROWS
#define MEMORY_REALS (4194304 / (REAL_BITS / 8))
#endif
#define HALVED_MEMORY_STREAMED_ROWS 8
/* There, one row reads a b of more than the second-level cache holds along its rows, if these have so many columns, and no
 * more than so many.                                                                                                */
#define READ_COLUMNS (256 / (REAL_BITS / 32))
#define MOST_READ_COLUMNS (1024 / (REAL_BITS / 32))
/* And one row does with a b of this size whose rows begin anywhere in a cache line, from so many columns on; so many rows
 * read a larger one sooner packed.                                                                                  */
#define STRADDLING_REALS (524288 / (REAL_BITS / 8))
#define STRADDLING_COLUMNS (512 / (REAL_BITS / 32))
#define STRADDLING_ROWS 192
#define LARGE_STRADDLING_REALS (2097152 / (REAL_BITS / 8))
/* On Zen 4, so many rows read a b of more than this sooner packed: how fast they read it where it lies depends on
 * which pages it got.                                                                                               */
#define SEVERAL_ROWS (2 * MR)
#define HALVED_LARGE_REALS (7340032 / (REAL_BITS / 8))
/* Where vectors go through in two halves, tiles have fewer rows if b is near: stores come in shorter bursts. Such tiles
 * need no packed b so soon.                                                                                        */
#define HALVED_MR (MR / 2)
#define HALVED_PACKING_REALS (262144 / (REAL_BITS / 8))
#define COPYING_COLUMNS ((LEVEL == 4 ? 4 : 3) * NR) /* from so many on it pays to copy bands of a: */
#define BAND_STEP ((MR + VL - 1) / VL * VL)    /* from one step of a copied band of a to the next ... */
#define STEPS_TOGETHER 16                      /* so many of which are copied for one band, then for the next */
#define BAND_ROW (KCHAIN + VL)                 /* ... or from one row to the next: no two share a set of the cache */
#define BAND_REALS (MR * BAND_ROW > KCHAIN * BAND_STEP ? MR * BAND_ROW : KCHAIN * BAND_STEP)
/* v2 has no load that fills a vector with one float. For three rows that takes six of the 44 instructions that its tile
 * has a step, 24 of which are arithmetic. There a band is copied with each number as often as a vector has lanes.  */
#define SPREADS (LEVEL == 2 && REAL_BITS == 32)
#define SPREAD_REALS (SPREADS ? MR * VL * KCHAIN : 0)
/* Below AVX-512 the tiles are a cache line wide or less: for each multiply-add they load more of b than of a. There up
 * to BY_COLUMNS bands, with BY_COLUMNS_REALS of a at most, use a column of tiles' part of b, which is then in the
 * first-level cache, before the next column's is read; a comes from the second, where all of it has to fit. (With more
 * rows, pages of a and c would be more than the processor remembers the places of.) It pays from BY_COLUMNS_STEPS on. */
#define BY_COLUMNS (LEVEL == 4 ? 0 : 10)
#define BY_COLUMNS_STEPS 12
#define BY_COLUMNS_REALS (131072 / (REAL_BITS / 8))
#define BY_COLUMNS_A_REALS (524288 / (REAL_BITS / 8))
#define BY_COLUMNS_COPIED (BY_COLUMNS * SPREAD_REALS > BY_COLUMNS_REALS ? BY_COLUMNS * SPREAD_REALS : BY_COLUMNS_REALS)
#define COPIED_REALS (BY_COLUMNS ? BY_COLUMNS_COPIED : BAND_REALS)

/* One order of arithmetic. These are the same at every level and every thread count: they define the result.       */
enum {
    KCHAIN = 512,   /* a product's element is summed in chains of this many values of k, added in order */
    ROW_CHUNK = 512, /* column sums: rows summed one after the other before chunks are added in order */
    SUM_CHUNK = 4096, /* longer rows are summed in chunks of this many values, added in order */
    LANES = 16      /* row sums: element i goes to lane i % 16; lanes are folded 8-4-2-1 */
};

#define LANE_VECTORS (LANES / VL) /* vectors that hold the lanes of a row sum */

#define NEST_CHUNK 256 /* elements of elementwise work that go through a buffer: 1 or 2 KB */
#define NEST_VECTORS (NEST_CHUNK / VL)
#define PAST_REALS (41943040 / (REAL_BITS / 8)) /* results from here on leave nothing of themselves in the caches */

#endif
