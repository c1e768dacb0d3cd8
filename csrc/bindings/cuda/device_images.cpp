#include "device_images.h"

#include <pybind11/numpy.h>

#include <stdexcept>

namespace mammofast::bindings {
namespace {

[[noreturn]] void fail(const std::string& name, const std::string& got, const std::string& expected) {
    throw std::invalid_argument(name + ": got " + got + ", expected " + expected);
}

std::optional<PixelType> pixel_type_of(DType dtype) {
    constexpr std::pair<DType, PixelType> types[] = {
        {{'u', 1}, PixelType::UINT8},  {{'i', 1}, PixelType::INT8},  {{'u', 2}, PixelType::UINT16},
        {{'i', 2}, PixelType::INT16},  {{'u', 4}, PixelType::UINT32}, {{'i', 4}, PixelType::INT32},
        {{'f', 4}, PixelType::FLOAT32}, {{'f', 8}, PixelType::FLOAT64}};
    for (const auto& [known, type] : types)
        if (known == dtype) return type;
    return std::nullopt;
}

bool is_real(PixelType type) { return type == PixelType::FLOAT32 || type == PixelType::FLOAT64; }

DeviceSource source_of(const DeviceGuard& guard, const std::string& name, py::handle image) {
    const AnyView view(guard, name.c_str(), image, Layout::ANY);
    const std::optional<PixelType> type = pixel_type_of(view.dtype());
    if (!type || view.shape().size() != 2)
        fail(name, view.described(),
             "a 2-D array of one of uint8, int8, uint16, int16, uint32, int32, float32, float64");
    if (view.bytes() == 0)
        fail(name, "shape (" + std::to_string(view.size(0)) + ", " + std::to_string(view.size(1)) + ")",
             "at least one pixel");
    view.require_device(guard, name.c_str());
    const int64_t itemsize = view.dtype().bytes;
    int64_t row_step = view.size(1);
    if (!view.strides().empty()) {
        if ((view.size(1) > 1 && view.strides()[1] != itemsize) || view.strides()[0] % itemsize != 0)
            fail(name, view.described() + " with gaps in its rows", "the values of a row side by side");
        row_step = view.strides()[0] / itemsize;
    }
    return {*type, view.memory(), view.size(0), view.size(1), row_step, {nullptr, 0, 0}, {0.0, 1.0}, 0};
}

}  // namespace

DeviceImages::DeviceImages(const DeviceGuard& guard, const std::string& name, const py::list& images,
                           const py::list& tables, const Contrasts& contrasts, const std::vector<int64_t>& window_of) {
    for (size_t i = 0; i < images.size(); ++i) {
        sources_.push_back(source_of(guard, name, images[i]));
        if (!contrasts.empty()) sources_[i].contrast = {contrasts[i].first, contrasts[i].second};
        sources_[i].window = window_of.empty() ? static_cast<int64_t>(i) : window_of[i];
        if (!tables[i].is_none() && is_real(sources_[i].type))
            fail("table", "a GreyTable",
                 std::string("None, since the pixels are ") +
                     (sources_[i].type == PixelType::FLOAT32 ? "float32" : "float64"));
    }
    add_tables(guard, tables);
}

void DeviceImages::add_tables(const DeviceGuard& guard, const py::list& tables) {
    std::vector<float> copied;
    std::vector<std::pair<size_t, size_t>> places;  // image, index in copied
    for (size_t i = 0; i < sources_.size(); ++i) {
        if (tables[i].is_none()) continue;
        const auto [values, first] = tables[i].cast<std::pair<py::object, int64_t>>();
        GreyTable& table = sources_[i].table;
        table.first = first;
        if (py::isinstance<py::array>(values)) {
            const auto array = py::reinterpret_borrow<py::array_t<float, py::array::c_style>>(values);
            table.n = array.shape(0);
            places.emplace_back(i, copied.size());
            copied.insert(copied.end(), array.data(), array.data() + table.n);
        } else {
            const View<const float> view(guard, "table.values", values, {"n"});
            if (view.size(0) == 0) fail("table.values", "no values", "at least one");
            table.n = view.size(0);
            table.values = view.data();
        }
    }
    if (copied.empty()) return;
    copied_.emplace(static_cast<int64_t>(copied.size()), guard.stream());
    // CUDA has read pageable memory when the call returns.
    check(cudaMemcpyAsync(copied_->data(), copied.data(), copied.size() * sizeof(float), cudaMemcpyHostToDevice,
                          static_cast<cudaStream_t>(guard.stream())),
          "copy to the device");
    for (const auto& [image, place] : places) sources_[image].table.values = copied_->data() + place;
}

Output<int32_t> new_status(const DeviceGuard& guard, py::object given, int64_t n) {
    Output<int32_t> status(guard, "status", std::move(given), {n});
    check(cudaMemsetAsync(status.data(), 0, static_cast<size_t>(n) * sizeof(int32_t),
                          static_cast<cudaStream_t>(guard.stream())),
          "clearing the status");
    return status;
}

const double* windows_or_null(const DeviceGuard& guard, py::handle windows, const Extent& n) {
    return windows.is_none() ? nullptr : View<const double>(guard, "windows", windows, {n, 2}).data();
}

}  // namespace mammofast::bindings
