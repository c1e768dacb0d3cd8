#include "device_array.h"

#include <pybind11/stl.h>

#include <stdexcept>

#include "../../core/scratch.h"
#include "dlpack.h"

namespace mammofast::bindings {
namespace {

bool is_legacy(void* stream) { return stream == nullptr || stream == cudaStreamLegacy; }

// What is queued on waiting from here on runs after what is queued on pending now.
void wait_for(void* waiting, void* pending) {
    if (waiting == pending || (is_legacy(waiting) && is_legacy(pending))) return;
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "event");
    cudaError_t status = cudaEventRecord(event, static_cast<cudaStream_t>(pending));
    if (status == cudaSuccess) status = cudaStreamWaitEvent(static_cast<cudaStream_t>(waiting), event, 0);
    cudaEventDestroy(event);  // CUDA keeps it until the wait is over
    check(status, "waiting for the stream of an array's owner");
}

int64_t count_of(const std::vector<int64_t>& shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    return count;
}

// "(1, 4)", "(n,)"
std::string text_of(const std::vector<std::string>& sizes) {
    std::string text = "(";
    for (size_t axis = 0; axis < sizes.size(); ++axis) text += (axis > 0 ? ", " : "") + sizes[axis];
    return text + (sizes.size() == 1 ? ",)" : ")");
}

std::string text_of(const std::vector<int64_t>& sizes) {
    std::vector<std::string> texts;
    for (const int64_t size : sizes) texts.push_back(std::to_string(size));
    return text_of(texts);
}

std::string text_of(const Extents& extents) {
    std::vector<std::string> texts;
    for (const Extent& extent : extents) texts.push_back(extent.letter ? extent.letter : std::to_string(extent.size));
    return text_of(texts);
}

bool fits(const std::vector<int64_t>& shape, const Extents& wanted) {
    if (shape.size() != wanted.size()) return false;
    for (size_t axis = 0; axis < shape.size(); ++axis)
        if (wanted[axis].letter == nullptr && wanted[axis].size != shape[axis]) return false;
    return true;
}

[[noreturn]] void fail(const std::string& name, const std::string& got, const std::string& expected) {
    throw std::invalid_argument(name + ": got " + got + ", expected " + expected);
}

std::string type_name(py::handle value) { return py::str(py::type::of(value).attr("__name__")); }

// The device that holds a pointer, or -1 where no device knows it.
int device_of(const void* pointer) {
    cudaPointerAttributes attributes{};
    if (pointer == nullptr) return -1;
    check(cudaPointerGetAttributes(&attributes, pointer), "asking for an array's device");
    return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged ? attributes.device : -1;
}

// __cuda_array_interface__, or None. torch's arrays on the CPU raise when asked.
py::object interface_of(py::handle array) {
    try {
        return py::getattr(array, "__cuda_array_interface__", py::none());
    } catch (py::error_already_set& error) {
        if (!error.matches(PyExc_TypeError) && !error.matches(PyExc_RuntimeError)) throw;
        return py::none();
    }
}

// The device that DLPack names, or -1 where it is none of CUDA's.
int dlpack_device_of(py::handle array) {
    if (!py::hasattr(array, "__dlpack_device__")) return -1;
    const auto [kind, device] = array.attr("__dlpack_device__")().cast<std::pair<int32_t, int32_t>>();
    return kind == dlpack::CUDA || kind == dlpack::CUDA_MANAGED ? device : -1;
}

// Whether this thread has a device: cudaGetDevice says 0 where it has none. The driver is asked through the runtime, so
// that the extension loads where there is none.
bool has_context() {
    static const auto get_current = [] {
        void* found = nullptr;
        cudaDriverEntryPointQueryResult status{};
        // The version that cuCtxGetCurrent came with.
        const auto got = cudaGetDriverEntryPointByVersion("cuCtxGetCurrent", &found, 4000, cudaEnableDefault, &status);
        if (got != cudaSuccess) cudaGetLastError();
        return got == cudaSuccess ? reinterpret_cast<int (*)(void**)>(found) : nullptr;
    }();
    void* context = nullptr;
    return get_current == nullptr || get_current(&context) != 0 || context != nullptr;
}

}  // namespace

std::string DType::name() const {
    const char* names = kind == 'f' ? "float" : kind == 'i' ? "int" : kind == 'u' ? "uint" : nullptr;
    return names != nullptr ? names + std::to_string(8 * bytes) : kind == 'b' ? "bool" : std::string(1, kind);
}

std::string DType::typestr() const { return (bytes == 1 ? "|" : "<") + std::string(1, kind) + std::to_string(bytes); }

CurrentDevice::CurrentDevice(int device) {
    if (has_context()) check(cudaGetDevice(&before_), "device");
    check(cudaSetDevice(device), "device");
}

CurrentDevice::~CurrentDevice() {
    if (before_ >= 0) cudaSetDevice(before_);
}

DeviceGuard::DeviceGuard(py::handle array, uintptr_t stream) : stream_(reinterpret_cast<void*>(stream)) {
    int device = dlpack_device_of(array);
    if (device < 0) {
        const py::object interface = interface_of(array);
        if (!interface.is_none())
            device = device_of(reinterpret_cast<void*>(interface["data"].cast<py::tuple>()[0].cast<uintptr_t>()));
    }
    if (device >= 0) {
        current_.emplace(device);
    } else if (cudaGetDevice(&device) != cudaSuccess) {
        cudaGetLastError();  // an empty array, or none at all: a View says what is wrong with it
        device = 0;
    }
    device_ = device;
}

DeviceGuard::DeviceGuard(int device, uintptr_t stream)
    : current_(device), device_(device), stream_(reinterpret_cast<void*>(stream)) {}

AnyView::AnyView(const DeviceGuard& guard, const char* name, py::handle array, Layout layout) {
    const py::object interface = interface_of(array);
    const bool capsules = dlpack_device_of(array) >= 0;
    // Interfaces before version 3 do not say which stream is still writing; DLPack does (torch has both).
    if (!interface.is_none() && (!capsules || interface.contains("stream")))
        read_interface(guard, name, interface);
    else if (capsules)
        read_capsule(guard, name, array);
    else
        fail(name, type_name(array), "an array on a CUDA device");
    if (layout == Layout::CONTIGUOUS && !contiguous())
        fail(name, described() + " with gaps or in another order", "a C-contiguous array");
}

AnyView::AnyView(const DeviceGuard& guard, const char* name, py::handle array, DType dtype, const Extents& shape,
                 bool written) {
    const std::string expected = dtype.name() + " of shape " + text_of(shape);
    if (interface_of(array).is_none() && dlpack_device_of(array) < 0)
        fail(name, type_name(array), expected + " on a CUDA device");
    *this = AnyView(guard, name, array);
    if (dtype_ != dtype || !fits(shape_, shape)) fail(name, described(), expected);
    if (written && read_only_) fail(name, "an array that is read-only", "one that can be written");
    require_device(guard, name);
}

void AnyView::require_device(const DeviceGuard& guard, const char* name) const {
    if (bytes() == 0) return;
    const int device = device_ >= 0 ? device_ : device_of(memory_);
    if (device != guard.device())
        fail(name,
             device < 0 ? "memory that no CUDA device knows" : "an array on CUDA device " + std::to_string(device),
             "one on device " + std::to_string(guard.device()) + ", as the first argument");
}

void AnyView::read_interface(const DeviceGuard& guard, const char* name, const py::dict& interface) {
    const auto type = interface["typestr"].cast<std::string>();
    dtype_ = {type.size() > 2 ? type[1] : '?', type.size() > 2 ? std::atoi(type.c_str() + 2) : 0};
    shape_ = interface["shape"].cast<std::vector<int64_t>>();
    if (type[0] == '>') fail(name, "big-endian values", "little-endian ones");
    if (interface.contains("mask") && !interface["mask"].is_none()) fail(name, "a masked array", "one without a mask");
    if (interface.contains("strides") && !interface["strides"].is_none())
        strides_ = interface["strides"].cast<std::vector<int64_t>>();
    const auto data = interface["data"].cast<py::tuple>();
    memory_ = reinterpret_cast<void*>(data[0].cast<uintptr_t>());
    read_only_ = data[1].cast<bool>();
    if (memory_ != nullptr && interface.contains("stream") && !interface["stream"].is_none())
        wait_for(guard.stream(), reinterpret_cast<void*>(interface["stream"].cast<uintptr_t>()));
}

void AnyView::read_capsule(const DeviceGuard& guard, const char* name, py::handle array) {
    // DLPack has no 0: its 1 is the legacy default stream.
    const auto stream = is_legacy(guard.stream()) ? uintptr_t{1} : reinterpret_cast<uintptr_t>(guard.stream());
    const auto capsule = array.attr("__dlpack__")(py::arg("stream") = stream).cast<py::capsule>();
    auto* managed = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::UNREAD));
    if (managed == nullptr) throw py::error_already_set();
    const dlpack::Tensor& tensor = managed->tensor;
    const char kind = tensor.kind == dlpack::INT     ? 'i'
                      : tensor.kind == dlpack::UINT  ? 'u'
                      : tensor.kind == dlpack::FLOAT ? 'f'
                      : tensor.kind == dlpack::BOOL  ? 'b'
                                                     : '?';
    dtype_ = {kind, tensor.bits / 8};
    if (tensor.lanes != 1) fail(name, "vectors as values", "numbers");
    shape_.assign(tensor.shape, tensor.shape + tensor.n_axes);
    if (tensor.strides != nullptr)
        for (int axis = 0; axis < tensor.n_axes; ++axis) strides_.push_back(tensor.strides[axis] * dtype_.bytes);
    memory_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
    device_ = tensor.device_id;
    // The capsule goes, its array stays: it is the caller's, and the caller holds it.
}

std::string AnyView::described() const { return dtype_.name() + " of shape " + text_of(shape_); }

bool AnyView::contiguous() const {
    if (strides_.empty() || count_of(shape_) == 0) return true;
    int64_t step = dtype_.bytes;
    for (size_t axis = shape_.size(); axis-- > 0; step *= shape_[axis])
        if (shape_[axis] > 1 && strides_[axis] != step) return false;
    return true;
}

size_t AnyView::bytes() const { return static_cast<size_t>(count_of(shape_)) * dtype_.bytes; }

DeviceMemory::DeviceMemory(const DeviceGuard& guard, size_t bytes)
    : data(allocate(bytes, guard.stream())), device(guard.device()), stream(guard.stream()) {}

DeviceMemory::~DeviceMemory() {
    try {
        const CurrentDevice current(device);
        free_it();
    } catch (const std::exception&) {  // Python is ending: a destructor has nobody to tell
    }
}

void DeviceMemory::free_it() {
    try {
        // The legacy stream stands for all streams but non-blocking ones, whose users say when they are done.
        if (exported && !is_legacy(stream)) wait_for(stream, cudaStreamLegacy);
    } catch (const std::exception&) {  // a destructor has nobody to tell, and what comes next says it again
    }
    cudaFreeAsync(data, static_cast<cudaStream_t>(stream));
}

DeviceArray::DeviceArray(const DeviceGuard& guard, DType dtype, std::vector<int64_t> shape)
    : dtype_(dtype), shape_(std::move(shape)) {
    memory_ = std::make_shared<DeviceMemory>(guard, bytes());
}

size_t DeviceArray::bytes() const { return static_cast<size_t>(count_of(shape_)) * dtype_.bytes; }

uintptr_t DeviceArray::stream() const {
    return is_legacy(memory_->stream) ? 1 : reinterpret_cast<uintptr_t>(memory_->stream);
}

// https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html, version 3
py::dict DeviceArray::interface() const {
    memory_->exported = true;
    py::dict interface;
    interface["version"] = 3;
    interface["typestr"] = dtype_.typestr();
    interface["shape"] = py::tuple(py::cast(shape_));
    interface["strides"] = py::none();
    interface["data"] = py::make_tuple(reinterpret_cast<uintptr_t>(data()), false);
    interface["stream"] = stream();
    return interface;
}

py::capsule DeviceArray::capsule(py::object stream, py::object, py::object dl_device, py::object copy) const {
    if (!copy.is_none() && copy.cast<bool>()) throw py::buffer_error("__dlpack__: copy=True is not supported");
    if (!dl_device.is_none() && !dl_device.equal(py::make_tuple(dlpack::CUDA, device())))
        throw py::buffer_error("__dlpack__: the array stays on its device");
    const auto consumer = stream.is_none() ? intptr_t{1} : stream.cast<intptr_t>();
    if (consumer == 0) fail("stream", "0", "1 for the legacy default stream, 2 for the per-thread one, or a handle");
    memory_->exported = true;
    if (consumer > 0) {
        const DeviceGuard guard(device());
        wait_for(reinterpret_cast<void*>(consumer), memory_->stream);
    }
    struct Export {
        dlpack::ManagedTensor managed;
        std::shared_ptr<DeviceMemory> memory;
        std::vector<int64_t> shape;
    };
    auto* made = new Export{{}, memory_, shape_};
    const uint8_t kind = dtype_.kind == 'f'   ? dlpack::FLOAT
                         : dtype_.kind == 'i' ? dlpack::INT
                         : dtype_.kind == 'u' ? dlpack::UINT
                                              : dlpack::BOOL;
    made->managed.tensor = {data(), dlpack::CUDA, device(), static_cast<int32_t>(shape_.size()), kind,
                            static_cast<uint8_t>(8 * dtype_.bytes), 1, made->shape.data(), nullptr, 0};
    made->managed.owner = made;
    made->managed.release = [](dlpack::ManagedTensor* managed) { delete static_cast<Export*>(managed->owner); };
    return py::capsule(&made->managed, dlpack::UNREAD, [](PyObject* capsule) {
        if (!PyCapsule_IsValid(capsule, dlpack::UNREAD)) return;  // taken, and its taker releases it
        auto* managed = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule, dlpack::UNREAD));
        managed->release(managed);
    });
}

}  // namespace mammofast::bindings
