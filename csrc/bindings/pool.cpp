#include "../pool/pool.h"

#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

py::list pool(const py::array& image, const std::vector<int>& levels) {
    return with_pixel_type(image, [&](auto pixel) {
        using T = decltype(pixel);
        py::list arrays;
        std::vector<PoolLevel<T>> outs;
        for (int level : levels) {
            const py::ssize_t side = py::ssize_t{1} << level;
            Packed<Pooled<T>> array({(image.shape(0) + side - 1) / side, (image.shape(1) + side - 1) / side});
            outs.push_back({level, image_of(array)});
            arrays.append(array);
        }
        const Image<const T> source = const_image_of<T>(image);
        py::gil_scoped_release release;
        pool_cpu(source, outs);
        return arrays;
    });
}

}  // namespace

void register_pool(py::module_& module) {
    module.def("pool", &pool, py::arg("image"), py::arg("levels"), "One array a level; levels rise and are distinct.");
}

}  // namespace mammofast::bindings
