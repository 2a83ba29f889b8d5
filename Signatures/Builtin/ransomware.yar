rule Ransom_Note
{
    meta:
        description = "A text that asks for payment to get encrypted files back"
        severity = "critical"
    strings:
        $files1 = "your files have been encrypted" nocase ascii wide
        $files2 = "all your files are encrypted" nocase ascii wide
        $files3 = "your files are encrypted" nocase ascii wide
        $files4 = "your network has been encrypted" nocase ascii wide
        $files5 = "all of your files were encrypted" nocase ascii wide
        $files6 = "files have been stolen and encrypted" nocase ascii wide
        $files7 = "data has been encrypted and" nocase ascii wide
        $pay1 = "bitcoin" nocase ascii wide
        $pay2 = "monero" nocase ascii wide
        $pay3 = /\b[a-z2-7]{56}\.onion\b/ nocase
        $pay4 = "tor browser" nocase ascii wide
        $pay5 = "pay the ransom" nocase ascii wide
        $back1 = "decryption key" nocase ascii wide
        $back2 = "decrypt your files" nocase ascii wide
        $back3 = "private key" nocase ascii wide
        $back4 = "decryptor" nocase ascii wide
        $back5 = "recover your files" nocase ascii wide
        $back6 = "restore your files" nocase ascii wide
    condition:
        filesize < 100KB and uint16(0) != 0x5A4D and uint32(0) != 0x464C457F and 1 of ($files*) and 1 of ($pay*) and 1 of ($back*)
}

rule Ransom_Shadow_Copies
{
    meta:
        description = "A program or script that removes shadow copies and switches recovery off"
        severity = "high"
    strings:
        $delete1 = /vssadmin(\.exe)?"?\s{1,4}delete\s{1,4}shadows/ nocase ascii wide
        $delete2 = /wmic(\.exe)?"?\s{1,4}shadowcopy\s{1,4}delete/ nocase ascii wide
        $delete3 = /wbadmin(\.exe)?"?\s{1,4}delete\s{1,4}(catalog|systemstatebackup|backup)/ nocase ascii wide
        $recovery1 = /bcdedit(\.exe)?"?\s{1,4}\/set\s{1,4}(\{default\}|default)\s{1,4}recoveryenabled\s{1,4}no/ nocase ascii wide
        $recovery2 = /bootstatuspolicy\s{1,4}ignoreallfailures/ nocase ascii wide
    condition:
        filesize < 20MB and ((1 of ($delete*) and 1 of ($recovery*)) or 2 of ($delete*))
}
