#include "../../tiles/tiles.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <vector>

#include "arguments.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

using Places = py::array_t<int32_t, py::array::c_style>;

std::string named(const char* what, int64_t i) { return std::string(what) + "[" + std::to_string(i) + "]"; }

// images: float32 (rows, cols), one for each tile. origins: int32 (k, 2) on the host.
py::object cut_tiles(const py::list& images, const Places& origins, int32_t rows, int32_t cols,
                     const std::vector<float>& mean, const std::vector<float>& std, bool half, uintptr_t stream,
                     const py::object& out) {
    const DeviceGuard guard(images.empty() ? py::none() : py::object(images[0]), stream);
    const auto k = static_cast<int32_t>(images.size());
    std::vector<TileSource> sources;
    for (int32_t i = 0; i < k; ++i) {
        const View<const float> image(guard, named("images", i).c_str(), images[i], {"rows", "cols"});
        if (image.size(0) < 1 || image.size(1) < 1 || image.size(0) > INT32_MAX || image.size(1) > INT32_MAX)
            throw std::invalid_argument(named("images", i) + ": got " + image.described() +
                                        ", expected at least one pixel and sides below 2^31");
        sources.push_back({image.data(), static_cast<int32_t>(image.size(0)), static_cast<int32_t>(image.size(1)),
                           origins.at(i, 0), origins.at(i, 1)});
    }
    TileInputs inputs{nullptr, half, k, static_cast<int32_t>(mean.size()), rows, cols, {}, {}};
    std::copy(mean.begin(), mean.end(), inputs.mean);
    std::copy(std.begin(), std.end(), inputs.std);
    const auto run = [&](const auto& output) {
        inputs.out = output.data();
        {
            py::gil_scoped_release release;
            cut_tiles_cuda(sources.data(), inputs, guard.stream());
        }
        return output.object();
    };
    const std::vector<int64_t> shape{k, inputs.channels, rows, cols};
    if (half) return run(Output<uint16_t>(guard, "out", out, shape, HALF));
    return run(Output<float>(guard, "out", out, shape));
}

// maps: float32 (rows, cols), one for each tile. places: int32 (k, 6) on the host: top, left, row_begin, row_end,
// col_begin, col_end.
py::object stitch_tiles(py::handle tiles, const py::list& maps, const Places& places, double low, double high,
                        uintptr_t stream, const py::object& out) {
    const DeviceGuard guard(tiles, stream);
    const auto k = static_cast<int64_t>(maps.size());
    return with_real_view(guard, "tiles", tiles, {k, "rows", "cols"}, [&](const auto& values) {
        const int64_t rows = values.size(1), cols = values.size(2);
        std::vector<TileTarget> targets;
        for (int64_t i = 0; i < k; ++i) {
            const View<float> map(guard, named("maps", i).c_str(), maps[i], {"rows", "cols"});
            const int32_t* place = places.data(i, 0);
            const TileTarget target{map.data(), static_cast<int32_t>(map.size(1)), place[0], place[1], place[2],
                                    place[3], place[4], place[5]};
            const bool inside = target.row_begin >= std::max(target.top, 0) &&
                                target.row_end <= std::min(target.top + rows, map.size(0)) &&
                                target.col_begin >= std::max(target.left, 0) &&
                                target.col_end <= std::min(target.left + cols, map.size(1));
            if (!inside)
                throw std::invalid_argument(named("kept", i) + ": got rows " + std::to_string(place[2]) + ".." +
                                            std::to_string(place[3]) + " and columns " + std::to_string(place[4]) +
                                            ".." + std::to_string(place[5]) + ", expected what both the tile at (" +
                                            std::to_string(place[0]) + ", " + std::to_string(place[1]) + ") and " +
                                            map.described() + " have");
            targets.push_back(target);
        }
        const Output<int32_t> status(guard, "out", out, {k});
        {
            py::gil_scoped_release release;
            using T = std::remove_const_t<std::remove_pointer_t<decltype(values.data())>>;
            stitch_tiles_cuda(TileValues<T>{values.data(), static_cast<int32_t>(k), static_cast<int32_t>(rows),
                                            static_cast<int32_t>(cols)},
                              targets.data(), low, high, status.data(), guard.stream());
        }
        return status.object();
    });
}

}  // namespace

void register_tiles(py::module_& module) {
    using namespace py::literals;
    module.attr("MOST_CHANNELS") = MOST_CHANNELS;
    module.def("cut_tiles", &cut_tiles, "images"_a, "origins"_a, "rows"_a, "cols"_a, "mean"_a, "std"_a, "half"_a,
               "stream"_a, "out"_a, "Inputs (k, channels, rows, cols).");
    module.def("stitch_tiles", &stitch_tiles, "tiles"_a, "maps"_a, "places"_a, "low"_a, "high"_a, "stream"_a, "out"_a,
               "Writes to the maps; status, int32 (k,).");
}

}  // namespace mammofast::bindings
