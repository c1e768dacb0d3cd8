// NumPy arrays as the views kernels take. Shapes and types have been checked in Python.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>

#include "../core/array.h"
#include "../core/grey.h"

namespace mammofast::bindings {

namespace py = pybind11;

template <typename T>
using Packed = py::array_t<T, py::array::c_style>;

template <typename T>
Image<T> image_of(Packed<T>& array) {
    return {array.mutable_data(), array.shape(0), array.shape(1), array.shape(1)};
}

// Rows may lie apart; values of a row are adjacent.
template <typename T>
Image<const T> const_image_of(const py::array& array) {
    return {static_cast<const T*>(array.data()), array.shape(0), array.shape(1),
            array.strides(0) / static_cast<py::ssize_t>(sizeof(T))};
}

// table: float32 values and the stored value of the first one, or None.
inline GreyTable grey_table_of(const py::object& values, int64_t first) {
    if (values.is_none()) return {nullptr, 0, 0};
    const auto array = py::reinterpret_borrow<py::array>(values);
    return {static_cast<const float*>(array.data()), array.shape(0), first};
}

// Calls visit(T{}) with the C++ type of the array's pixels.
template <typename Visit>
auto with_pixel_type(const py::array& array, Visit visit) {
    switch (array.dtype().kind() * 16 + static_cast<int>(array.itemsize())) {
        case 'u' * 16 + 1: return visit(uint8_t{});
        case 'i' * 16 + 1: return visit(int8_t{});
        case 'u' * 16 + 2: return visit(uint16_t{});
        case 'i' * 16 + 2: return visit(int16_t{});
        case 'u' * 16 + 4: return visit(uint32_t{});
        case 'i' * 16 + 4: return visit(int32_t{});
        case 'f' * 16 + 4: return visit(float{});
        case 'f' * 16 + 8: return visit(double{});
    }
    throw std::invalid_argument("pixels: got type " + std::string(py::str(array.dtype())) +
                                ", expected integers of at most 32 bits, float32 or float64");
}

}  // namespace mammofast::bindings
