-- The ancestor of an H3 cell at a coarser resolution, by bit arithmetic: bits 52 to 55 hold the
-- resolution, unused digits of 3 bits are 7.
create or replace macro cell_parent(cell, resolution) as
    (
        (cell & 18379190079298994175::ubigint)
        | (resolution::ubigint << 52)
        | ((1::ubigint << (3 * (15 - resolution))) - 1)
    )::ubigint;
