// The device's side of arrays in Python: the class, copies from and to the host, and what CUDA has to say for itself.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "../../core/launch.h"
#include "device_array.h"
#include "dlpack.h"
#include "register.h"

#ifndef MAMMOFAST_CUDA_TARGETS
#define MAMMOFAST_CUDA_TARGETS ""
#endif

namespace mammofast::bindings {
namespace {

// What ptxas said of each kernel, a line of JSON each; setup.py writes it.
constexpr const char* RESOURCES = ""
#if __has_include("mammofast_kernel_resources.h")
#include "mammofast_kernel_resources.h"
#endif
    ;

std::unique_ptr<DeviceArray> to_device(const py::array& values, uintptr_t stream, int device) {
    const DeviceGuard guard(device, stream);
    const py::array packed = py::array::ensure(values, py::array::c_style);
    const DType dtype{packed.dtype().kind(), static_cast<int>(packed.itemsize())};
    auto array = std::make_unique<DeviceArray>(
        guard, dtype, std::vector<int64_t>(packed.shape(), packed.shape() + packed.ndim()));
    const void* source = packed.data();
    {
        py::gil_scoped_release release;
        // CUDA has read pageable memory when the call returns, which takes as long as reading it.
        check(cudaMemcpyAsync(array->data(), source, array->bytes(), cudaMemcpyHostToDevice,
                              static_cast<cudaStream_t>(guard.stream())),
              "copy to the device");
    }
    return array;
}

// dtype: NumPy's.
std::unique_ptr<DeviceArray> empty(const std::vector<int64_t>& shape, const py::dtype& dtype, uintptr_t stream,
                                   int device) {
    const DeviceGuard guard(device, stream);
    return std::make_unique<DeviceArray>(guard, DType{dtype.kind(), static_cast<int>(dtype.itemsize())}, shape);
}

py::array to_host(py::handle array, uintptr_t stream) {
    const DeviceGuard guard(array, stream);
    const AnyView view(guard, "array", array);
    py::array values(py::dtype(view.dtype().typestr()), view.shape());
    void* target = values.mutable_data();
    py::gil_scoped_release release;
    const auto queue = static_cast<cudaStream_t>(guard.stream());
    check(cudaMemcpyAsync(target, view.memory(), view.bytes(), cudaMemcpyDeviceToHost, queue), "copy to the host");
    check(cudaStreamSynchronize(queue), "copy to the host");
    return values;
}

// Versions as CUDA counts them (13000 is 13.0; driver 0: none), the devices, and CUDA's message where there are none.
py::dict devices() {
    int driver = 0, runtime = 0, count = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    const cudaError_t status = cudaGetDeviceCount(&count);
    cudaGetLastError();
    py::list cards;
    for (int device = 0; status == cudaSuccess && device < count; ++device) {
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, device), "device");
        cards.append(py::make_tuple(std::string(properties.name), 10 * properties.major + properties.minor));
    }
    py::dict found;
    found["driver"] = driver;
    found["runtime"] = runtime;
    found["cards"] = cards;
    found["problem"] = status == cudaSuccess ? "" : cudaGetErrorString(status);
    return found;
}

}  // namespace

void register_arrays(py::module_& module) {
    using namespace py::literals;
    py::class_<DeviceArray>(module, "DeviceArray", py::module_local(),
                            "An array on a CUDA device, for torch.from_dlpack, cupy.from_dlpack and the like.")
        .def_property_readonly("__cuda_array_interface__", &DeviceArray::interface)
        .def("__dlpack__", &DeviceArray::capsule, py::kw_only(), "stream"_a = py::none(), "max_version"_a = py::none(),
             "dl_device"_a = py::none(), "copy"_a = py::none())
        .def("__dlpack_device__", [](const DeviceArray& array) { return py::make_tuple(dlpack::CUDA, array.device()); })
        .def_property_readonly("shape", [](const DeviceArray& array) { return py::tuple(py::cast(array.shape())); })
        .def_property_readonly("dtype", [](const DeviceArray& array) { return py::dtype(array.dtype().typestr()); })
        .def_property_readonly("stream", &DeviceArray::stream)
        .def_property_readonly("device", &DeviceArray::device);
    module.def("to_device", &to_device, "values"_a, "stream"_a = 0, "device"_a = 0, "A copy on a CUDA device.");
    module.def("empty", &empty, "shape"_a, "dtype"_a, "stream"_a, "device"_a, "An array whose values are undefined.");
    module.def("to_host", &to_host, "array"_a, "stream"_a = 0, "A copy as a NumPy array; waits for the stream.");
    module.def("devices", &devices, "Driver, run time, the cards and what CUDA says where there are none.");
    module.attr("targets") = MAMMOFAST_CUDA_TARGETS;
    module.attr("resources") = RESOURCES;
}

}  // namespace mammofast::bindings
