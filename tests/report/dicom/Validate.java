// PixelMed's validators behind one started Java: a path a line in, its messages and a line of "." out.

import com.pixelmed.dicom.AttributeList;
import com.pixelmed.validate.DicomInstanceValidator;
import com.pixelmed.validate.DicomSRValidator;
import java.io.BufferedReader;
import java.io.InputStreamReader;

public class Validate {
    public static void main(String[] arguments) throws Exception {
        DicomInstanceValidator instances = new DicomInstanceValidator();
        DicomSRValidator reports = new DicomSRValidator();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String path = lines.readLine(); path != null; path = lines.readLine()) {
            try {
                AttributeList list = new AttributeList();
                list.read(path);
                System.out.println(instances.validate(list));
                if (list.get(new com.pixelmed.dicom.AttributeTag(0x0040, 0xa730)) != null) {
                    System.out.println(reports.validate(list));
                }
            } catch (Throwable error) {
                System.out.println("Error: " + error);
            }
            System.out.println(".");
            System.out.flush();
        }
    }
}
