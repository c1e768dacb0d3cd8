#include "../../decode_yolo/decode_yolo.h"

#include <optional>
#include <string>

#include "../../core/status.h"
#include "../yolo_heads.h"
#include "device_array.h"
#include "register.h"
#include "trimmed.h"

namespace mammofast::bindings {
namespace {

constexpr int CHANNELS = YOLO_ANCHORS * YOLO_CHANNELS;

// Heads on the guard's device, all of the first one's type, for inputs of one size; batched: of several images.
struct HeadsOnDevice {
    HeadsOnDevice(const DeviceGuard& guard, const std::vector<py::object>& arrays, const std::vector<int32_t>& strides,
                  const Anchors& anchors, bool batched)
        : heads(describe_heads(strides, anchors)) {
        const DType dtype = AnyView(guard, "heads", arrays.at(0)).dtype() == HALF ? HALF : dtype_of<float>();
        heads.half = dtype == HALF;
        for (int i = 0; i < heads.n; ++i) {
            const std::string name = "heads[" + std::to_string(i) + "]";
            Extents shape{CHANNELS, "rows", "cols"};
            if (batched) shape.insert(shape.begin(), i == 0 ? Extent("n") : Extent(images));
            const AnyView view(guard, name.c_str(), arrays[i], dtype, shape, false);
            if (batched) images = view.size(0);
            YoloHead& head = heads.head[i];
            const int64_t rows = view.size(batched + 1), cols = view.size(batched + 2);
            rows_of_input = i == 0 ? rows * head.stride : rows_of_input;
            cols_of_input = i == 0 ? cols * head.stride : cols_of_input;
            cells += YOLO_ANCHORS * rows * cols;
            if (rows * head.stride != rows_of_input || cols * head.stride != cols_of_input)
                throw std::invalid_argument(name + ": got cells for an input of " + std::to_string(rows * head.stride) +
                                            " x " + std::to_string(cols * head.stride) + " pixels, expected " +
                                            std::to_string(rows_of_input) + " x " + std::to_string(cols_of_input) +
                                            " as of heads[0]");
            if (rows > INT32_MAX || cols > INT32_MAX || cells * YOLO_CHANNELS > INT32_MAX)
                throw std::invalid_argument(name + ": got " + std::to_string(cells * YOLO_CHANNELS) +
                                            " values with those before, expected less than 2^31");
            head.values = view.memory();
            head.rows = static_cast<int32_t>(rows);
            head.cols = static_cast<int32_t>(cols);
        }
    }

    YoloHeads heads;
    int64_t images = 0, cells = 0;
    int64_t rows_of_input = 0, cols_of_input = 0;
};

py::tuple decode_yolo_batch(const std::vector<py::object>& arrays, const std::vector<int32_t>& strides,
                            const Anchors& anchors, double threshold, int64_t capacity, py::handle frames,
                            uintptr_t stream, const py::tuple& out) {
    const DeviceGuard guard(arrays.at(0), stream);
    const HeadsOnDevice on_device(guard, arrays, strides, anchors, true);
    const int64_t n = on_device.images;
    std::optional<View<const int32_t>> shown;
    if (!frames.is_none()) shown.emplace(guard, "frames", frames, Extents{n, 2});
    const Output<float> boxes(guard, "out boxes", out[0], {n, capacity, 4});
    const Output<float> scores(guard, "out scores", out[1], {n, capacity});
    const Output<int32_t> counts(guard, "out counts", out[2], {n});
    const Output<int32_t> status(guard, "out status", out[3], {n});
    {
        py::gil_scoped_release release;
        static_assert(sizeof(YoloFrame) == 2 * sizeof(int32_t));
        decode_yolo_cuda(on_device.heads, threshold,
                         shown ? reinterpret_cast<const YoloFrame*>(shown->data()) : nullptr,
                         {boxes.data(), scores.data(), counts.data(), status.data(), n, capacity}, guard.stream());
    }
    return py::make_tuple(boxes.object(), scores.object(), counts.object(), status.object());
}

// Waits for the stream to learn how many boxes there are. frame: (rows, cols), or None.
py::tuple decode_yolo(const std::vector<py::object>& arrays, const std::vector<int32_t>& strides,
                      const Anchors& anchors, double threshold, const std::optional<std::array<int32_t, 2>>& frame,
                      uintptr_t stream) {
    const DeviceGuard guard(arrays.at(0), stream);
    const HeadsOnDevice on_device(guard, arrays, strides, anchors, false);
    const int64_t capacity = on_device.cells;
    const Scratch<float> boxes(4 * capacity, guard.stream()), scores(capacity, guard.stream());
    const Scratch<int32_t> found(2, guard.stream());  // count and status
    const Scratch<YoloFrame> shown(1, guard.stream());
    std::array<int32_t, 2> count_and_status{};
    {
        py::gil_scoped_release release;
        const auto queue = static_cast<cudaStream_t>(guard.stream());
        // CUDA has read pageable memory when the call returns.
        if (frame)
            check(cudaMemcpyAsync(shown.data(), frame->data(), sizeof *frame, cudaMemcpyHostToDevice, queue),
                  "copy to the device");
        decode_yolo_cuda(on_device.heads, threshold, frame ? shown.data() : nullptr,
                         {boxes.data(), scores.data(), found.data(), found.data() + 1, 1, capacity}, guard.stream());
        check(cudaMemcpyAsync(&count_and_status, found.data(), sizeof count_and_status, cudaMemcpyDeviceToHost, queue),
              "copy to the host");
        check(cudaStreamSynchronize(queue), "copy to the host");
    }
    if (count_and_status[1] & STATUS_NOT_FINITE)
        throw std::invalid_argument("heads: got NaN or Inf, expected finite values");
    const int64_t n = count_and_status[0];
    return py::make_tuple(trimmed(boxes, guard, {n, 4}), trimmed(scores, guard, {n}));
}

}  // namespace

void register_decode_yolo(py::module_& module) {
    using namespace py::literals;
    module.def("decode_yolo", &decode_yolo, "heads"_a, "strides"_a, "anchors"_a, "threshold"_a, "frame"_a, "stream"_a,
               "Boxes, float32 (k, 4), and scores, float32 (k,); waits for the stream.");
    module.def("decode_yolo_batch", &decode_yolo_batch, "heads"_a, "strides"_a, "anchors"_a, "threshold"_a,
               "capacity"_a, "frames"_a, "stream"_a, "out"_a,
               "Boxes, float32 (n, capacity, 4), scores, float32 (n, capacity), counts and status, int32 (n,).");
}

}  // namespace mammofast::bindings
