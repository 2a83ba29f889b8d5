private rule upx_packed
{
    strings:
        $name0 = "UPX0"
        $name1 = "UPX1"
        $mark = "UPX!"
        $text = "$Info: This file is packed with the UPX executable packer"
    condition:
        (uint16(0) == 0x5A4D and $name0 in (0..1024) and $name1 in (0..1024) and $mark)
        or (uint32(0) == 0x464C457F and $mark and $text)
}

rule Packed_Program_In_Odd_Place
{
    meta:
        description = "A packed program in a folder for temporary files, web content, mail or the recycle bin"
        severity = "medium"
    condition:
        (uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and upx_packed and filepath matches /(^|[\/\\])(tmp|temp|dev[\/\\]shm|\$recycle\.bin|recycler|inetpub[\/\\]wwwroot|var[\/\\]www|htdocs|perflogs|users[\/\\]public|programdata|downloads|appdata[\/\\](local|roaming))[\/\\]/i
}

rule Program_With_Picture_Or_Document_Name
{
    meta:
        description = "A program whose name says picture, text or document"
        severity = "medium"
    condition:
        ((uint16(0) == 0x5A4D and filesize > 512 and uint32(uint32(0x3C)) == 0x00004550) or (uint32(0) == 0x464C457F and filesize > 512))
        and extension matches /^\.(jpe?g|png|gif|bmp|txt|log|pdf|docx?|xlsx?|pptx?|mp3|mp4|csv)$/i
}
