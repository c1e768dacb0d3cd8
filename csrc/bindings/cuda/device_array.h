// Arrays on CUDA devices, whichever library made them: in through View, out through DeviceArray and Output.
//
// Streams: an op runs on one stream. A View makes that stream wait for the work that its array's owner says is pending;
// a DeviceArray makes whoever asks for it wait for the op. Nothing here waits on the host, but to_host.
#pragma once

#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace mammofast::bindings {

namespace py = pybind11;

// The type of an array's values, as NumPy's kind ('b', 'i', 'u', 'f') and size say it.
struct DType {
    char kind;
    int bytes;

    bool operator==(const DType&) const = default;
    std::string name() const;     // "float32"
    std::string typestr() const;  // "<f4"
};

constexpr DType HALF{'f', 2};  // in C++ its bits, uint16_t

template <typename T>
constexpr DType dtype_of() {
    using V = std::remove_const_t<T>;
    constexpr char kind = std::is_same_v<V, bool>          ? 'b'
                          : std::is_floating_point_v<V>    ? 'f'
                          : std::is_signed_v<V>            ? 'i'
                                                           : 'u';
    return {kind, sizeof(V)};
}

// One axis that an argument must have: a number, or a letter for a free one.
struct Extent {
    template <typename Number, typename = std::enable_if_t<std::is_integral_v<Number>>>
    Extent(Number number) : size(static_cast<int64_t>(number)), letter(nullptr) {}
    Extent(const char* name) : size(-1), letter(name) {}

    int64_t size;
    const char* letter;
};
using Extents = std::vector<Extent>;

// A device is current while this lives. The one before is again afterwards, unless nothing was: making a device current
// makes a context on it, hundreds of MB of a card that this process may have no business with.
class CurrentDevice {
  public:
    explicit CurrentDevice(int device);
    ~CurrentDevice();
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;

  private:
    int before_ = -1;
};

// The device that an array lives on is current while this lives; the op's other arrays must be there too.
class DeviceGuard {
  public:
    // stream: a CUDA stream's handle; 0 and 1 both name the legacy default stream, as CUDA's headers do.
    DeviceGuard(py::handle array, uintptr_t stream);
    explicit DeviceGuard(int device, uintptr_t stream = 0);
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

    int device() const { return device_; }
    void* stream() const { return stream_; }

  private:
    std::optional<CurrentDevice> current_;
    int device_ = 0;
    void* stream_;
};

enum class Layout { CONTIGUOUS, ANY };

// An array as its owner describes it, on the guard's device. It lives as long as Python's argument does.
class AnyView {
  public:
    // Any type and shape; throws ValueError for what is no array on a CUDA device, or none of that layout.
    AnyView(const DeviceGuard& guard, const char* name, py::handle array, Layout layout = Layout::CONTIGUOUS);
    // Throws ValueError "name: got ..., expected ..." for another type, shape or device.
    AnyView(const DeviceGuard& guard, const char* name, py::handle array, DType dtype, const Extents& shape,
            bool written);

    void* memory() const { return memory_; }
    DType dtype() const { return dtype_; }
    const std::vector<int64_t>& shape() const { return shape_; }
    int64_t size(int axis) const { return shape_[axis]; }
    const std::vector<int64_t>& strides() const { return strides_; }  // in bytes; none where C-contiguous
    size_t bytes() const;
    std::string described() const;  // "float32 of shape (1, 4)"
    // Throws ValueError for an array that is not on the guard's device.
    void require_device(const DeviceGuard& guard, const char* name) const;

  private:
    void read_interface(const DeviceGuard& guard, const char* name, const py::dict& interface);
    void read_capsule(const DeviceGuard& guard, const char* name, py::handle array);
    bool contiguous() const;

    void* memory_ = nullptr;
    DType dtype_{};
    std::vector<int64_t> shape_, strides_;
    bool read_only_ = false;
    int device_ = -1;
};

// View<const float> boxes(guard, "boxes", array, {"n", 4}); a View of a type without const is refused where read-only.
template <typename T>
class View : public AnyView {
  public:
    View(const DeviceGuard& guard, const char* name, py::handle array, const Extents& shape,
         DType dtype = dtype_of<T>())
        : AnyView(guard, name, array, dtype, shape, !std::is_const_v<T>) {}

    T* data() const { return static_cast<T*>(memory()); }
};

// Memory of the pool in the order of a stream, which must outlive it.
struct DeviceMemory {
    DeviceMemory(const DeviceGuard& guard, size_t bytes);
    ~DeviceMemory();
    void free_it();

    void* data;
    int device;
    void* stream;
    bool exported = false;  // whether another library may be reading it on a stream of its own
};

// What ops return: Python owns it, other libraries read it through __cuda_array_interface__ (version 3) and DLPack.
class DeviceArray {
  public:
    DeviceArray(const DeviceGuard& guard, DType dtype, std::vector<int64_t> shape);

    void* data() const { return memory_->data; }
    DType dtype() const { return dtype_; }
    const std::vector<int64_t>& shape() const { return shape_; }
    size_t bytes() const;
    int device() const { return memory_->device; }
    uintptr_t stream() const;  // 1 for the legacy default stream

    py::dict interface() const;
    // stream: the consumer's, as DLPack's Python specification numbers them; -1: it does not want to wait.
    py::capsule capsule(py::object stream, py::object max_version, py::object dl_device, py::object copy) const;

  private:
    std::shared_ptr<DeviceMemory> memory_;
    DType dtype_;
    std::vector<int64_t> shape_;
};

// Where an op writes: the caller's array, or a new one.
template <typename T>
class Output {
  public:
    Output(const DeviceGuard& guard, const char* name, py::object given, std::vector<int64_t> shape,
           DType dtype = dtype_of<T>()) {
        if (given.is_none()) {
            auto made = std::make_unique<DeviceArray>(guard, dtype, std::move(shape));
            data_ = static_cast<T*>(made->data());
            object_ = py::cast(std::move(made));
        } else {
            data_ = View<T>(guard, name, given, Extents(shape.begin(), shape.end()), dtype).data();
            object_ = std::move(given);
        }
    }

    T* data() const { return data_; }
    const py::object& object() const { return object_; }

  private:
    T* data_;
    py::object object_;
};

}  // namespace mammofast::bindings
