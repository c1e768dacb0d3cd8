// The extension mammofast.ops._kernels: one register_* per op.
#include "register.h"

PYBIND11_MODULE(_kernels, module) {
    using namespace mammofast::bindings;
    module.doc() = "Kernels behind mammofast.ops, which checks shapes and types before it calls them.";
    register_nms(module);
    register_decode_yolo(module);
    register_fuse_boxes(module);
    register_confidence_mask(module);
    register_paste_masks(module);
    register_label_mask(module);
    register_pool(module);
    register_roi_align(module);
    register_detection_inputs(module);
    register_segmentation_inputs(module);
    register_peak_rate(module);
}
