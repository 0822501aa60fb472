# What the compiled front of calls on arrays (eager.pyx) needs of the executor.
cimport numpy as cnp

from fastnn.kernels.instruction cimport Instruction, Operand

cdef int bind_array(Operand *operand, cnp.ndarray array) except -1
cdef int fill_attributes(Instruction *instruction, tuple integers, tuple numbers) except -1
cdef int team_for(double work) except -1
cdef int run_instruction(Instruction *instruction, int team, bint in_any_case=*)
